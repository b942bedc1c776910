import { expect, type Page } from "@playwright/test";

export const ARTIFACTS = "../test-artifacts";

/** Starts a deployment from the list of services and returns its ID. */
export async function deploy(page: Page, service: string): Promise<number> {
  await page.goto("/ui/");
  await page.getByRole("button", { name: `Deploy ${service}`, exact: true }).click();
  await page.getByRole("button", { name: "Deploy now" }).click();
  await page.waitForURL(/\/deployments\/\d+$/);
  return Number(/\d+$/.exec(page.url())?.[0]);
}

export async function expectOutcome(page: Page, outcome: "success" | "failure" | "cancelled" | "running"): Promise<void> {
  await expect(page.locator(`[data-outcome=${outcome}]`)).toBeVisible({ timeout: 90_000 });
}

/** Returns true if the server has a service; those in e2e/services exist only on the server started by serve.js. */
export async function hasService(page: Page, service: string): Promise<boolean> {
  await page.goto("/ui/");
  await page.getByRole("article").first().waitFor();
  return await page.locator(`[data-service="${service}"]`).count() > 0;
}

/** Returns the numbers and texts of all log lines. */
export async function readLog(page: Page): Promise<string[]> {
  const log = page.getByRole("log");
  const lines = new Map<number, string>();
  await log.evaluate(element => element.scrollTo(0, 0));
  for (;;) {
    await expect(log.locator(".log-line .text:empty")).toHaveCount(0);
    // Read all at once: only visible lines exist, and those change while the log is measured.
    const seen = await log.locator(".log-line").evaluateAll(elements => elements.map(element =>
      [Number(element.querySelector(".number")?.textContent), element.querySelector(".text")?.textContent ?? ""] as const));
    for (const [number, text] of seen) lines.set(number, text);
    const atEnd = await log.evaluate((element) => {
      const end = element.scrollTop + element.clientHeight >= element.scrollHeight - 2;
      element.scrollBy(0, element.clientHeight);
      return end;
    });
    if (atEnd) break;
  }
  return [...lines].sort(([a], [b]) => a - b).map(([, text]) => text);
}

/** Takes a screenshot for people to look at; parts that differ between runs are not masked. */
export async function picture(page: Page, name: string): Promise<void> {
  await page.screenshot({ path: `${ARTIFACTS}/${name}.png`, fullPage: true, animations: "disabled" });
}
