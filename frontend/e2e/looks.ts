import { expect, test, type Page } from "@playwright/test";
import axe from "axe-core";
import { ARTIFACTS } from "./app";

declare global {
  interface Window { axe: typeof axe }
}

type Theme = "light" | "dark";

export const SIZES = { desktop: { width: 1280, height: 860 }, phone: { width: 360, height: 740 } };

/**
 * The second tier (`just test-all`) checks both themes at each width. The first tier checks one theme per width. At a
 * phone's width, `inspectLooks` then leaves axe to pages.spec.ts, which opens the pages on a phone, too.
 */
const everyLook = Boolean(process.env.ALL_LOOKS);
const FIRST_TIER = [["desktop", "light"], ["phone", "dark"]] as const;
const LOOKS = everyLook ? [...FIRST_TIER, ["desktop", "dark"], ["phone", "light"]] as const : FIRST_TIER;

/** Checks for serious axe findings and horizontal scrolling at both widths and in both themes; takes screenshots. */
export async function inspectLooks(page: Page, name: string): Promise<void> {
  for (const [size, theme] of LOOKS) {
    await page.setViewportSize(SIZES[size]);
    await inspect(page, name, `${size}-${theme}`, theme, everyLook || size === "desktop");
  }
  await page.setViewportSize(SIZES.desktop);
  await page.emulateMedia({ colorScheme: "light", reducedMotion: null });
}

/** Does the same at the project's width, in its theme first: for pages that each project opens at its own width. */
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

async function inspect(page: Page, name: string, look: string, colorScheme: Theme, withAxe = true): Promise<void> {
  // Disable motion: axe must check final colors, not transitions.
  await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
  await drawn(page);
  if (withAxe) expect(await severeFindings(page), look).toEqual([]);
  const [wanted, given] = await page.evaluate(() =>
    [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  expect(wanted, `${look}: horizontal scrolling`).toBe(given);
  // Dialogs are fixed to the viewport, so the full page would not show them.
  const fullPage = await page.locator("[role=dialog], [role=alertdialog]").count() === 0;
  await page.screenshot({ path: `${ARTIFACTS}/${name}-${look}.png`, fullPage, animations: "disabled" });
}

/** Waits until a theme change is drawn: even without motion, colors change only in the next frame. */
async function drawn(page: Page): Promise<void> {
  await page.evaluate(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))));
  await page.waitForFunction(() => document.getAnimations().every(animation =>
    !(animation instanceof CSSTransition) || animation.playState !== "running"));
}

/** Runs all axe rules. Reports only violations, since describing passed rules takes longest. */
async function severeFindings(page: Page): Promise<string[]> {
  expect(page.frames(), "axe does not check frames").toHaveLength(1);
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
