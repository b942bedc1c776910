import MarkdownIt from "markdown-it";

type Token = ReturnType<MarkdownIt["parse"]>[number];

/** Align table cells with a class; the content security policy would block a `style` attribute. */
function alignByClass(tokens: Token[]): void {
  for (const token of tokens) {
    const style = token.attrGet("style");
    if (style === null) continue;
    token.attrs = token.attrs?.filter(([name]) => name !== "style") ?? null;
    token.attrJoin("class", `align-${style.replace("text-align:", "")}`);
  }
}

/** Lower headings by one level, because the page has its own first-level heading. */
function lowerHeadings(tokens: Token[]): void {
  for (const token of tokens) {
    if (/^h[1-5]$/.test(token.tag)) token.tag = `h${Number(token.tag[1]) + 1}`;
  }
}

function openOutside(tokens: Token[]): void {
  for (const token of tokens) {
    if (token.children) openOutside(token.children);
    if (token.type !== "link_open") continue;
    if (!/^https?:/.test(token.attrGet("href") ?? "")) continue;
    token.attrSet("target", "_blank");
    token.attrSet("rel", "noopener noreferrer");
  }
}

/** Make wide elements focusable, so that they can be scrolled with the keyboard. */
function scrollByKeyboard(markdown: MarkdownIt): void {
  const { rules } = markdown.renderer;
  for (const name of ["fence", "code_block"] as const) {
    const original = rules[name];
    rules[name] = (...given) => (original?.(...given) ?? "").replace("<pre>", "<pre tabindex=\"0\">");
  }
  rules.table_open = () => "<div class=\"wide-table\" tabindex=\"0\" role=\"group\"><table>\n";
  rules.table_close = () => "</table></div>\n";
}

/** README → HTML. Raw HTML stays text (`html: false`); links can't carry scripts (markdown-it's `validateLink`). */
export function renderMarkdown(source: string): string {
  const markdown = new MarkdownIt({ html: false, linkify: true, typographer: false });
  scrollByKeyboard(markdown);
  const tokens = markdown.parse(source, {});
  alignByClass(tokens);
  lowerHeadings(tokens);
  openOutside(tokens);
  return markdown.renderer.render(tokens, markdown.options, {});
}
