import { describe, expect, it } from "vitest";
import { markMatches, parseAnsi, plainText } from "@/lib/ansi";

const ESC = "\u001b";

describe("a line with terminal colors", () => {
  it("becomes segments with classes", () => {
    expect(parseAnsi(`${ESC}[1;31mERROR${ESC}[0m all is lost`)).toEqual([
      { text: "ERROR", classes: ["ansi-bold", "ansi-fg-1"] },
      { text: " all is lost", classes: [] },
    ]);
  });

  it.each([
    ["bright colors", `${ESC}[92mx`, { text: "x", classes: ["ansi-fg-10"] }],
    ["backgrounds", `${ESC}[44mx`, { text: "x", classes: ["ansi-bg-4"] }],
    ["bright backgrounds", `${ESC}[103mx`, { text: "x", classes: ["ansi-bg-11"] }],
    ["the palette's first sixteen by name", `${ESC}[38;5;9mx`, { text: "x", classes: ["ansi-fg-9"] }],
    ["the palette's cube", `${ESC}[38;5;141mx`, { text: "x", classes: ["ansi-rgb"], color: "rgb(175, 135, 255)" }],
    ["the palette's greys", `${ESC}[48;5;232mx`, { text: "x", classes: ["ansi-rgb-bg"], background: "rgb(8, 8, 8)" }],
    ["true colors", `${ESC}[38;2;1;2;3mx`, { text: "x", classes: ["ansi-rgb"], color: "rgb(1, 2, 3)" }],
    ["a style that ends", `${ESC}[1m${ESC}[4m${ESC}[22mx`, { text: "x", classes: ["ansi-underline"] }],
    ["a color that ends", `${ESC}[31m${ESC}[39mx`, { text: "x", classes: [] }],
    ["a reset without number", `${ESC}[31m${ESC}[mx`, { text: "x", classes: [] }],
  ])("knows %s", (_what, line, expected) => {
    expect(parseAnsi(line)).toEqual([expected]);
  });

  it.each([
    ["cursor movements", `a${ESC}[2Kb${ESC}[1;5Hc`],
    ["window titles", `a${ESC}]0;title\u0007bc`],
    ["links", `a${ESC}]8;;https://example.com${ESC}\\b${ESC}]8;;${ESC}\\c`],
    ["bells, NULs and backspaces", "a\u0007b\u0000\u0008c"],
    ["an unfinished sequence at the end", `abc${ESC}]0;`],
  ])("drops %s", (_what, line) => {
    expect(parseAnsi(line).map(part => part.text).join("")).toBe("abc");
    expect(plainText(line)).toBe("abc");
  });

  it("leaves markup as text", () => {
    expect(parseAnsi("<b>bold</b> & <script>alert(1)</script>")).toEqual([
      { text: "<b>bold</b> & <script>alert(1)</script>", classes: [] },
    ]);
  });

  it("shows the final text of a rewritten line, like a terminal", () => {
    expect(plainText("10 %\r50 %\r100 %\r")).toBe("100 %");
  });

  it("is unchanged without escape sequences", () => {
    expect(parseAnsi("just text")).toEqual([{ text: "just text", classes: [] }]);
    expect(parseAnsi("")).toEqual([]);
  });
});

describe("marking search matches", () => {
  const marked = (line: string, query: string) => markMatches(parseAnsi(line), query)
    .map(part => part.match ? `[${part.text}]` : part.text).join("");

  it("finds every occurrence, ignoring case", () => {
    expect(marked("Error: an error", "ERROR")).toBe("[Error]: an [error]");
  });

  it("finds across a change of color", () => {
    expect(marked(`con${ESC}[31mnection`, "nne")).toBe("co[n][ne]ction");
  });

  it("keeps the colors", () => {
    expect(markMatches(parseAnsi(`${ESC}[32mabc`), "b")).toEqual([
      { text: "a", classes: ["ansi-fg-2"] },
      { text: "b", classes: ["ansi-fg-2"], match: true },
      { text: "c", classes: ["ansi-fg-2"] },
    ]);
  });

  it("marks nothing without a query", () => {
    expect(marked("abc", "")).toBe("abc");
  });
});
