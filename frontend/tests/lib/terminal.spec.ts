import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { plainText, renderLine, START, type Segment } from "@/lib/terminal/line";
import { linked, markMatches } from "@/lib/terminal/marks";
import { COLUMNS } from "@/lib/terminal/row";
import { toCss } from "@/lib/terminal/style";

interface Case {
  name: string;
  lines: string[];
  texts?: string[];
  segments?: object[][];
}

/** The Python tests use the same lines. */
const CASES = JSON.parse(readFileSync("../tests/unit/terminal_lines.json", "utf8")) as Case[];
const ESC = "\u001b";

function described({ text, style }: Segment): object {
  const { attributes, color, background, link } = style;
  const styles = attributes.length ? { styles: [...attributes].sort() } : {};
  const rest = Object.entries({ color, background, link }).filter(([, value]) => value !== undefined);
  return { text, ...styles, ...Object.fromEntries(rest) };
}

describe("a line as a terminal shows it", () => {
  it.each(CASES.map(one => [one.name, one] as const))("%s", (_name, { lines, texts, segments }) => {
    let state = START;
    const rendered = lines.map((line) => {
      const one = renderLine(line, state);
      state = one.state;
      return one.segments;
    });
    if (texts) expect(rendered.map(parts => parts.map(part => part.text).join(""))).toEqual(texts);
    if (segments) expect(rendered.map(parts => parts.map(described))).toEqual(segments);
  });

  it.each([
    ["erasures", "x".repeat(1000) + `${ESC}[2Kx`.repeat(20_000)],
    ["deletions", "x".repeat(100_000) + `\r${ESC}[P`.repeat(20_000)],
    ["insertions", `${ESC}[999@x`.repeat(20_000)],
    ["pictures", `\r\u0007${ESC}[m`.repeat(20_000)],
    ["blanks", `${ESC}[1000G${ESC}[1Kx`.repeat(10_000)],
    ["parameters", `${ESC}[${"1;".repeat(100_000)}mx`],
    ["digits", `${ESC}[${"9".repeat(100_000)}Cx`],
    ["rows", `x${ESC}[A`.repeat(20_000)],
  ])("does not take more cells for hostile %s than allowed", (_what, line) => {
    expect(plainText(line).length).toBeLessThanOrEqual(Math.max(line.length, COLUMNS));
  });

  it("converts the palette to CSS", () => {
    expect(toCss(9)).toBeNull();
    expect(toCss(141)).toBe("rgb(175, 135, 255)");
    expect(toCss(232)).toBe("rgb(8, 8, 8)");
    expect(toCss("#010203")).toBe("#010203");
  });
});

describe("marking search matches", () => {
  const marked = (line: string, query: string) => markMatches(renderLine(line).segments, query)
    .map(part => part.match ? `[${part.text}]` : part.text).join("");

  it.each([
    ["every occurrence, ignoring case", "Error and ERROR and error", "error", "[Error] and [ERROR] and [error]"],
    ["matches across colors", `${ESC}[31mfai${ESC}[0mled here`, "failed", "[fai][led] here"],
    ["nothing for an empty query", "text", "", "text"],
    ["special characters as text", "a.b a+b", "a.b", "[a.b] a+b"],
    ["the final text of a rewritten line", "10 %\r50 %", "50", "[50] %"],
  ])("finds %s", (_what, line, query, expected) => {
    expect(marked(line, query)).toBe(expected);
  });
});

describe("addresses in the log", () => {
  const links = (line: string) => linked(renderLine(line).segments)
    .filter(part => part.style.link).map(part => [part.text, part.style.link]);
  const itself = (url: string) => [[url, url]];

  it.each([
    ["see https://example.org/a?b=1#c now", "https://example.org/a?b=1#c"],
    ["Listening on http://127.0.0.1:8000.", "http://127.0.0.1:8000"],
    ["(https://example.org/a)", "https://example.org/a"],
    ["https://en.wikipedia.org/wiki/Log_(disambiguation)", "https://en.wikipedia.org/wiki/Log_(disambiguation)"],
    ["<https://example.org>,", "https://example.org"],
    ["\"https://example.org\"", "https://example.org"],
    ["is it https://example.org/?!", "https://example.org/"],
    ["url=https://example.org/ä", "https://example.org/ä"],
    ["HTTPS://EXAMPLE.ORG", "HTTPS://EXAMPLE.ORG"],
  ])("are links in %s", (line, url) => {
    expect(links(line)).toEqual(itself(url));
  });

  it.each(["javascript:alert(1)", "ftp://example.org", "https://", "xhttps://example.org", "file:///etc/passwd"])(
    "are not links in %s", (line) => {
      expect(links(line)).toEqual([]);
    },
  );

  it("are not searched for in hostile lines", () => {
    expect(links(`https://example.org/${")".repeat(100_000)}`)).toEqual([]);
  });

  it("are one link across colors", () => {
    expect(links(`https://example.org/${ESC}[1mb${ESC}[0m`)).toEqual([
      ["https://example.org/", "https://example.org/b"], ["b", "https://example.org/b"],
    ]);
  });

  it("keep the destination that the output sets", () => {
    const line = `${ESC}]8;;https://a.example${ESC}\\https://b.example${ESC}]8;;${ESC}\\`;
    expect(links(line)).toEqual([["https://b.example", "https://a.example"]]);
  });
});
