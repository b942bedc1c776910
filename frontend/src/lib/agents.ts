const BROWSERS: [pattern: RegExp, name: string][] = [
  [/\bEdg(?:e|A|iOS)?\//, "Edge"], [/\bOPR\//, "Opera"], [/\b(?:Firefox|FxiOS)\//, "Firefox"],
  [/\bChromium\//, "Chromium"], [/\b(?:Chrome|CriOS|HeadlessChrome)\//, "Chrome"], [/\bSafari\//, "Safari"],
];
const SYSTEMS: [pattern: RegExp, name: string][] = [
  [/\bAndroid\b/, "Android"], [/\b(?:iPhone|iPod)\b/, "iPhone"], [/\biPad\b/, "iPad"], [/\bWindows\b/, "Windows"],
  [/\bMac OS X\b/, "macOS"], [/\bCrOS\b/, "ChromeOS"], [/\bLinux\b/, "Linux"],
];

export interface Agent {
  browser: string | null;
  system: string | null;
  handheld: boolean;
}

const find = (list: [RegExp, string][], text: string) => list.find(([pattern]) => pattern.test(text))?.[1] ?? null;

/** Returns the common names of the browser and system in a `User-Agent` header. */
export function readAgent(userAgent: string): Agent {
  const system = find(SYSTEMS, userAgent);
  return { browser: find(BROWSERS, userAgent), system, handheld: ["Android", "iPhone", "iPad"].includes(system ?? "") };
}
