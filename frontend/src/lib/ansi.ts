/**
 * Terminal colors as data: segments that a template renders as text. No HTML is built, so nothing in a log can become
 * markup, and colors beyond the palette are set through the DOM, which a strict content security policy allows.
 */
export interface Segment {
  text: string;
  classes: string[];
  color?: string;
  background?: string;
  match?: boolean;
}

interface Pen {
  color: string | null;
  background: string | null;
  styles: Set<string>;
}

const SGR_STYLES: Record<number, string> = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" };
const SGR_RESETS: Record<number, string[]> = {
  22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["strike"],
};

// CSI sequences, OSC sequences (titles, links) and other two-byte escapes. They are control characters on purpose.

const ESCAPES = /\u001b(?:\[([0-9;:?<=>]*)[ -/]*([@-~])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\^_=><78])/g;

const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f]/g;

function blank(): Pen {
  return { color: null, background: null, styles: new Set() };
}

const CUBE = [0, 95, 135, 175, 215, 255] as const;

/** Converts an index of the 256-color palette: the first 16 by name (from the theme), the others by value. */
function paletteColor(index: number): string {
  if (index < 16) return `palette-${index}`;
  if (index >= 232) {
    const grey = 8 + (index - 232) * 10;
    return `rgb(${grey}, ${grey}, ${grey})`;
  }
  const at = index - 16;
  const [r, g, b] = [Math.floor(at / 36), Math.floor(at / 6) % 6, at % 6].map(part => CUBE[part] ?? 0);
  return `rgb(${r}, ${g}, ${b})`;
}

/** Reads `38;5;n` and `38;2;r;g;b`: the color and how many numbers it used. */
function extendedColor(codes: number[], at: number): [color: string | null, used: number] {
  if (codes[at + 1] === 5) return [paletteColor(codes[at + 2] ?? 0), 2];
  if (codes[at + 1] === 2) return [`rgb(${codes[at + 2] ?? 0}, ${codes[at + 3] ?? 0}, ${codes[at + 4] ?? 0})`, 4];
  return [null, codes.length];
}

function basicColor(code: number): [layer: "color" | "background", color: string | null] | null {
  const bright = code >= 90 ? 8 : 0;
  const base = code >= 90 ? code - 60 : code;
  if (base < 30 || base > 49) return null;
  const layer = base < 40 ? "color" : "background";
  const number = base % 10;
  if (number === 8) return null;
  return [layer, number === 9 ? null : `palette-${number + bright}`];
}

function applyCode(pen: Pen, code: number): void {
  if (code === 0) Object.assign(pen, blank());
  const style = SGR_STYLES[code];
  if (style) pen.styles.add(style);
  for (const off of SGR_RESETS[code] ?? []) pen.styles.delete(off);
  const basic = basicColor(code);
  if (basic) pen[basic[0]] = basic[1];
}

function applyCodes(pen: Pen, parameters: string): void {
  const codes = parameters.split(/[;:]/).map(Number);
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at] ?? 0;
    if (code === 38 || code === 48) {
      const [color, used] = extendedColor(codes, at);
      pen[code === 38 ? "color" : "background"] = color;
      at += used;
    } else {
      applyCode(pen, code);
    }
  }
}

function segment(text: string, pen: Pen): Segment {
  const made: Segment = { text, classes: [...pen.styles].map(style => `ansi-${style}`) };
  if (pen.color?.startsWith("palette")) made.classes.push(`ansi-fg-${pen.color.slice(8)}`);
  else if (pen.color) Object.assign(made, { color: pen.color }).classes.push("ansi-rgb");
  if (pen.background?.startsWith("palette")) made.classes.push(`ansi-bg-${pen.background.slice(8)}`);
  else if (pen.background) Object.assign(made, { background: pen.background }).classes.push("ansi-rgb-bg");
  return made;
}

/** Progress bars rewrite their line with carriage returns; keep the last part, which a terminal would show. */
function lastRewrite(text: string): string {
  const trimmed = text.replace(/\r+$/, "");
  return trimmed.slice(trimmed.lastIndexOf("\r") + 1);
}

export function parseAnsi(line: string): Segment[] {
  const text = lastRewrite(line);
  const segments: Segment[] = [];
  const pen = blank();
  let from = 0;
  const push = (piece: string) => {
    const clean = piece.replace(CONTROLS, "");
    if (clean) segments.push(segment(clean, pen));
  };
  for (const found of text.matchAll(ESCAPES)) {
    push(text.slice(from, found.index));
    from = found.index + found[0].length;
    if (found[2] === "m") applyCodes(pen, found[1] ?? "");
  }
  push(text.slice(from));
  return segments;
}

export function plainText(line: string): string {
  return lastRewrite(line).replace(ESCAPES, "").replace(CONTROLS, "");
}

/** Splits segments so that each occurrence of `query` (ignoring case) is a segment with `match`. */
export function markMatches(segments: Segment[], query: string): Segment[] {
  if (!query) return segments;
  const needle = query.toLowerCase();
  const whole = segments.map(part => part.text).join("").toLowerCase();
  const cuts: [number, number][] = [];
  for (let at = whole.indexOf(needle); at >= 0; at = whole.indexOf(needle, at + needle.length)) {
    cuts.push([at, at + needle.length]);
  }
  let offset = 0;
  return segments.flatMap((part) => {
    const pieces = splitAt(part, offset, cuts);
    offset += part.text.length;
    return pieces;
  });
}

function splitAt(part: Segment, offset: number, cuts: [number, number][]): Segment[] {
  const pieces: Segment[] = [];
  let from = 0;
  for (const [start, end] of cuts) {
    const [a, b] = [Math.max(start - offset, 0), Math.min(end - offset, part.text.length)];
    if (a >= b) continue;
    if (a > from) pieces.push({ ...part, text: part.text.slice(from, a) });
    pieces.push({ ...part, text: part.text.slice(a, b), match: true });
    from = b;
  }
  if (from < part.text.length) pieces.push({ ...part, text: part.text.slice(from) });
  return pieces;
}
