import AxeBuilder from "@axe-core/playwright";
import { expect, type Page } from "@playwright/test";
import { picture } from "./app";

/** Every page is looked at in both themes and at both widths. */
export const LOOKS = [
  { name: "desktop-light", width: 1280, height: 860, scheme: "light" },
  { name: "desktop-dark", width: 1280, height: 860, scheme: "dark" },
  { name: "phone-light", width: 360, height: 740, scheme: "light" },
  { name: "phone-dark", width: 360, height: 740, scheme: "dark" },
] as const;

/** No serious or critical finding of axe, no sideways scrolling; and a picture, in each look. */
export async function inspectLooks(page: Page, name: string): Promise<void> {
  for (const look of LOOKS) {
    await page.setViewportSize({ width: look.width, height: look.height });
    await page.emulateMedia({ colorScheme: look.scheme, reducedMotion: "reduce" });
    const { violations } = await new AxeBuilder({ page }).analyze();
    const severe = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    expect(severe.flatMap(({ id, nodes }) => nodes.map(node => `${look.name} ${id}: ${node.html}`))).toEqual([]);
    const [wanted, given] = await page.evaluate(() =>
      [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    expect(wanted, `${look.name}: no sideways scrolling`).toBe(given);
    await picture(page, `${name}-${look.name}`);
  }
  await page.setViewportSize({ width: LOOKS[0].width, height: LOOKS[0].height });
  await page.emulateMedia({ colorScheme: LOOKS[0].scheme, reducedMotion: null });
}
