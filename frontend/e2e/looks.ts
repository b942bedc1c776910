import AxeBuilder from "@axe-core/playwright";
import { expect, type Page } from "@playwright/test";
import { ARTIFACTS } from "./app";

const LOOKS = [
  ["desktop-light", 1280, 860, "light"], ["desktop-dark", 1280, 860, "dark"],
  ["phone-dark", 360, 740, "dark"], ["phone-light", 360, 740, "light"],
] as const;

/** In both themes, at both widths: no serious or critical finding of axe, no sideways scrolling; a picture of each. */
export async function inspectLooks(page: Page, name: string): Promise<void> {
  for (const [look, width, height, colorScheme] of LOOKS) {
    await page.setViewportSize({ width, height });
    // Without motion: axe wants to see colours as they stay, not on their way.
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const { violations } = await new AxeBuilder({ page }).analyze();
    const severe = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    expect(severe.flatMap(({ id, nodes }) => nodes.map(node => `${look}: ${id}: ${node.html} ${node.failureSummary}`))).toEqual([]);
    const [wanted, given] = await page.evaluate(() =>
      [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    expect(wanted, `${look}: sideways scrolling`).toBe(given);
    // A dialog belongs to the window, not to the page below it.
    const fullPage = await page.locator("[role=dialog], [role=alertdialog]").count() === 0;
    await page.screenshot({ path: `${ARTIFACTS}/${name}-${look}.png`, fullPage, animations: "disabled" });
  }
  await page.setViewportSize({ width: 1280, height: 860 });
  await page.emulateMedia({ colorScheme: "light", reducedMotion: null });
}

/** What the browser complains about from now on: errors, refusals of the content security policy, Vue's warnings. */
export function complaintsOf(page: Page): string[] {
  const complaints: string[] = [];
  page.on("pageerror", error => complaints.push(error.message));
  page.on("console", (message) => {
    if (/Content Security Policy|\[Vue warn\]/.test(message.text())) complaints.push(message.text());
  });
  return complaints;
}
