import { expect, test } from "@playwright/test";
import { deploy, expectOutcome, hasService, picture } from "./app";

test.describe("a log of 100 000 lines", () => {
  test.describe.configure({ mode: "serial" });
  let address = "";

  test.beforeAll(async ({ browser }) => {
    const page = await browser.newPage();
    if (await hasService(page, "long-log")) {
      await deploy(page, "long-log");
      await expectOutcome(page, "success");
      address = page.url();
    }
    await page.close();
  });

  test.beforeEach(() => {
    test.skip(address === "", "This server does not have the services of e2e/services.");
  });

  test("opens quickly and renders only visible lines", async ({ page }) => {
    await page.goto("/ui/deployments");
    await page.goto(address);
    await expect(page.getByText("100,000 lines")).toBeVisible();
    await expect(page.locator(".log-line").first()).toContainText("line 1 of");
    expect(await page.locator(".log-line").count()).toBeLessThan(150);
    const opened = await page.evaluate(() => performance.now());
    test.info().annotations.push({ type: "opened in", description: `${Math.round(opened)} ms` });
  });

  test("opens at the line of a link", async ({ page }) => {
    await page.goto(`${address}#L54321`);
    await expect(page.locator(".log-line-now")).toContainText("line 54321 of");
    await expect(page.locator(".log-line-now")).toBeInViewport();
  });

  test("can be searched as a whole", async ({ page }) => {
    await page.goto(address);
    await page.getByRole("searchbox", { name: "Search log" }).fill("line 99999 of");
    await expect(page.getByRole("toolbar")).toContainText("1 of 1");
    await expect(page.locator(".log-mark")).toHaveText("line 99999 of");
    await expect(page.locator(".log-mark")).toBeInViewport();
    await picture(page, "08-search");
  });

  test("can be downloaded, complete", async ({ page }) => {
    await page.goto(address);
    const waiting = page.waitForEvent("download");
    await page.getByRole("button", { name: "Download log" }).click();
    const download = await waiting;
    expect(download.suggestedFilename()).toMatch(/^long-log-\d+\.log$/);
    const chunks: Buffer[] = [];
    for await (const chunk of await download.createReadStream()) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks).toString().trimEnd().split("\n")).toHaveLength(100_000);
  });
});
