import { describe, expect, it } from "vitest";
import { renderMarkdown } from "@/lib/markdown";

function render(source: string): HTMLElement {
  const element = document.createElement("div");
  element.innerHTML = renderMarkdown(source);
  return element;
}

describe("a README", () => {
  it.each([
    ["a script", "<script>alert(1)</script>", "script"],
    ["an image with a handler", "<img src=x onerror=alert(1)>", "img"],
    ["a style", "<style>* { display: none }</style>", "style"],
    ["a frame", "<iframe src='https://example.com'></iframe>", "iframe"],
  ])("cannot bring in %s", (_what, source, forbidden) => {
    const page = render(`before\n\n${source}\n\nafter ${source}`);
    expect(page.querySelector(forbidden)).toBeNull();
    expect(page.textContent).toContain(source);
  });

  it.each(["javascript:alert(1)", "JaVaScRiPt:alert(1)", "vbscript:x", "data:text/html,<b>x</b>"])("cannot link to %s", (target) => {
    expect(render(`[click](${target})`).querySelector("a")).toBeNull();
  });

  it("opens other sites in a new page without access to ours", () => {
    const link = render("[handbook](https://example.com/)").querySelector("a");
    expect(link?.getAttribute("target")).toBe("_blank");
    expect(link?.getAttribute("rel")).toBe("noopener noreferrer");
  });

  it("leaves links within the page alone", () => {
    expect(render("[below](#install)").querySelector("a")?.hasAttribute("target")).toBe(false);
  });

  it("has its headings one level below the page's heading", () => {
    expect([...render("# A\n\n## B").children].map(child => child.tagName)).toEqual(["H2", "H3"]);
  });

  it("makes wide content scrollable by keyboard", () => {
    const page = render("```sh\nls\n```\n\n    indented\n\n| a |\n|---|\n| 1 |");
    expect([...page.querySelectorAll("[tabindex='0']")].map(({ tagName }) => tagName)).toEqual(["PRE", "PRE", "DIV"]);
  });

  it("aligns the cells of tables without a style attribute", () => {
    const page = render("| a | b |\n|:--|--:|\n| 1 | 2 |");
    expect(page.querySelector("[style]")).toBeNull();
    expect(page.querySelectorAll("td")[1]?.className).toBe("align-right");
  });
});
