import { expect, test, type Page } from "@playwright/test";
import axe from "axe-core";
import { ARTIFACTS } from "./app";

declare global {
  interface Window { axe: typeof axe }
}

type Theme = "light" | "dark";

export const SIZES = { desktop: { width: 1280, height: 860 }, phone: { width: 360, height: 740 } };

/** The second tier (`just test-all`) looks at each page in both themes at each width, the first tier once in each. */
const everyLook = Boolean(process.env.ALL_LOOKS);
const FIRST_TIER = [["desktop", "light"], ["phone", "dark"]] as const;
const LOOKS = everyLook ? [...FIRST_TIER, ["desktop", "dark"], ["phone", "light"]] as const : FIRST_TIER;

/** At both widths, in both themes: no serious or critical finding of axe, no sideways scrolling; a picture of each. */
export async function inspectLooks(page: Page, name: string): Promise<void> {
  for (const [size, theme] of LOOKS) {
    await page.setViewportSize(SIZES[size]);
    await inspect(page, name, `${size}-${theme}`, theme);
  }
  await page.setViewportSize(SIZES.desktop);
  await page.emulateMedia({ colorScheme: "light", reducedMotion: null });
}

/** The same at the project's width, in its theme first: for pages that each project opens at its own width. */
export async function inspectThemes(page: Page, name: string): Promise<void> {
  const { name: size, use } = test.info().project;
  const loaded: Theme = use.colorScheme === "dark" ? "dark" : "light";
  const themes: Theme[] = [loaded];
  if (everyLook) themes.push(loaded === "dark" ? "light" : "dark");
  for (const theme of themes) {
    await inspect(page, name, `${size}-${theme}`, theme);
  }
  await page.emulateMedia({ colorScheme: loaded, reducedMotion: null });
}

async function inspect(page: Page, name: string, look: string, colorScheme: Theme): Promise<void> {
  // Disable motion: axe must check final colors, not transitions.
  await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
  await drawn(page);
  expect(await severeFindings(page), look).toEqual([]);
  const [wanted, given] = await page.evaluate(() =>
    [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  expect(wanted, `${look}: sideways scrolling`).toBe(given);
  // A dialog belongs to the window, not to the page below it.
  const fullPage = await page.locator("[role=dialog], [role=alertdialog]").count() === 0;
  await page.screenshot({ path: `${ARTIFACTS}/${name}-${look}.png`, fullPage, animations: "disabled" });
}

/** Waits until a change of theme is drawn: even without motion, colors do not change until the next frame. */
async function drawn(page: Page): Promise<void> {
  await page.evaluate(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))));
  await page.waitForFunction(() => document.getAnimations().every(animation =>
    !(animation instanceof CSSTransition) || animation.playState !== "running"));
}

/** All of axe's rules. Passed rules are not described, which would take longest. */
async function severeFindings(page: Page): Promise<string[]> {
  expect(page.frames(), "axe looks into no frames").toHaveLength(1);
  if (!await page.evaluate(() => "axe" in window)) await page.evaluate(axe.source);
  return await page.evaluate(async () => {
    const { violations } = await window.axe.run({ resultTypes: ["violations"] });
    const severe = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    return severe.flatMap(({ id, nodes }) => nodes.map(node => `${id}: ${node.html} ${node.failureSummary}`));
  });
}

/** Collects browser messages: errors, content security policy violations, and Vue warnings. */
export function complaintsOf(page: Page): string[] {
  const complaints: string[] = [];
  page.on("pageerror", error => complaints.push(error.message));
  page.on("console", (message) => {
    if (/Content Security Policy|\[Vue warn\]/.test(message.text())) complaints.push(message.text());
  });
  return complaints;
}
