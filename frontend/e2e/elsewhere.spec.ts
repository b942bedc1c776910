import { expect, test } from "@playwright/test";
import { Api } from "./api";
import { inspectLooks } from "./looks";
import { account } from "./target";

/** Enough for three pages of the list; in the first tier, for two, because each one takes processor time. */
const MANY = process.env.ALL_LOOKS ? 130 : 60;

let api: Api;

test.beforeEach(async ({ page }) => {
  api = await Api.of(page);
  test.skip(await api.serviceId("quick") === null, "This server does not have the services of e2e/services.");
});

/** The list without the deployments of other test files, which run at the same time. */
const onlyQuick = async () => `/ui/deployments?service=${await api.serviceId("quick")}`;

test.describe("the list of deployments", () => {
  test("loads more while scrolling and keeps its filters in the URL", async ({ page }) => {
    test.setTimeout(240_000);
    const waiting = await Promise.all(Array.from({ length: MANY }, () => api.start("quick")));
    // These run one at a time, in order.
    await api.ended(Math.max(...waiting.map(({ id }) => id)));
    const quick = String(await api.serviceId("quick"));

    await page.goto("/ui/deployments");
    await page.getByLabel("Service").selectOption(quick);
    await page.getByRole("button", { name: "Succeeded" }).click();
    await page.getByRole("button", { name: "Failed" }).click();
    await page.getByLabel("When").selectOption("24h");
    await expect(page).toHaveURL(`/ui/deployments?service=${quick}&state=success&state=failure&since=24h`);
    const rows = page.locator("[data-deployment]");
    await expect(rows.first()).toContainText("quick");
    await expect(rows).toHaveCount(50);
    await rows.last().scrollIntoViewIfNeeded();
    if (MANY > 100) {
      await expect(rows).toHaveCount(100);
      await rows.last().scrollIntoViewIfNeeded();
    }
    await expect.poll(() => rows.count()).toBeGreaterThanOrEqual(MANY);
    const ids = await rows.evaluateAll(all => all.map(row => Number((row as HTMLElement).dataset.deployment)));
    expect(ids).toEqual([...new Set(ids)].sort((a, b) => b - a));

    await page.reload();
    await expect(page.getByRole("button", { name: "Failed" })).toHaveAttribute("aria-pressed", "true");
    await expect(rows.first()).toContainText("quick");
    await page.getByRole("button", { name: "Clear filters" }).click();
    await expect(page).toHaveURL("/ui/deployments");
  });

  test("does not move rows while the user reads: new ones wait above", async ({ page }) => {
    await api.ended((await api.start("quick")).id);
    await page.goto(await onlyQuick());
    await expect(page.locator("[data-live=live]")).toBeVisible();
    const links = page.locator("[data-row-link]");
    await expect(links.first()).toBeVisible();
    await page.keyboard.press("j");
    await expect(links.first()).toBeFocused();
    const first = await links.first().innerText();
    const { id } = await api.start("quick");
    const fresh = page.getByRole("button", { name: "1 new deployment" });
    await expect(fresh).toBeVisible();
    expect(await links.first().innerText()).toBe(first);
    await fresh.click();
    await expect(page.locator("[data-deployment]").first()).toHaveAttribute("data-deployment", String(id));
  });

  test("moves the focus with j and k, and opens with Enter", async ({ page }) => {
    for (let count = 0; count < 3; count += 1) await api.ended((await api.start("quick")).id);
    await page.goto(await onlyQuick());
    await expect(page.locator("[data-row-link]").nth(2)).toBeVisible();
    for (const key of ["j", "j", "j", "k"]) await page.keyboard.press(key);
    await expect(page.locator("[data-row-link]").nth(1)).toBeFocused();
    const target = await page.locator("[data-deployment]").nth(1).getAttribute("data-deployment");
    await page.keyboard.press("Enter");
    await expect(page).toHaveURL(`/ui/deployments/${target}`);
  });

  test("is accessible, filtered and empty", async ({ page }) => {
    await page.goto("/ui/deployments?state=success&state=cancelled&since=7d");
    await expect(page.getByRole("button", { name: "Succeeded" })).toHaveAttribute("aria-pressed", "true");
    await inspectLooks(page, "13-deployments-filtered");
    await page.goto("/ui/deployments?user=nobody&since=2026-01-01&until=2026-01-02");
    await expect(page.getByRole("heading", { name: "No deployments match these filters" })).toBeVisible();
    await inspectLooks(page, "14-deployments-none");
  });
});

test.describe("the queue", () => {
  test("shows running and waiting deployments, reasons, and workers live", async ({ page }) => {
    await page.goto("/ui/queue");
    await expect(page.locator("[data-worker][data-alive=true]")).toContainText("slots in use");
    const [first, second] = [await api.start("slow-elsewhere"), await api.start("slow-elsewhere")];
    await expect(page.locator(`a[data-deployment="${first.id}"]`)).toContainText("slow-elsewhere");
    const row = page.locator(`ol [data-deployment="${second.id}"]`);
    await expect(row.getByRole("link", { name: `View #${first.id}` })).toBeVisible();
    await inspectLooks(page, "15-queue");
    await api.cancel(first.id);
    await expect(page.locator(`a[data-deployment="${second.id}"]`)).toBeVisible();
    await expect(row).toHaveCount(0);
    await api.cancel(second.id);
    await expect(page.locator(`[data-deployment="${second.id}"]`)).toHaveCount(0);
    await inspectLooks(page, "16-queue-quiet");
  });
});

test("the outcome of the user's own deployment is shown on other pages, with a link", async ({ page }) => {
  await page.goto("/ui/profile");
  await expect(page.locator("[data-live=live]")).toBeVisible();
  const { id } = await api.start("counts-elsewhere");
  const toast = page.locator("[data-toast]").filter({ hasText: `counts-elsewhere #${id} succeeded.` });
  await expect(toast).toBeVisible({ timeout: 30_000 });
  await toast.getByRole("link", { name: "Open" }).click();
  await expect(page).toHaveURL(`/ui/deployments/${id}`);
  await expect(toast).toHaveCount(0);
});

test.describe("browser sessions", () => {
  test("can be listed and ended from another browser", async ({ page, browser }) => {
    const { user, password } = account();
    const other = await browser.newContext({ storageState: { cookies: [], origins: [] } });
    const elsewhere = await other.newPage();
    await elsewhere.goto("/ui/sign-in");
    await elsewhere.getByLabel("Username").fill(user);
    await elsewhere.getByLabel("Password").fill(password);
    await elsewhere.getByRole("button", { name: "Sign in" }).click();
    await expect(elsewhere.getByRole("heading", { name: "Services", level: 1 })).toBeVisible();

    await elsewhere.goto("/ui/profile");
    await expect(elsewhere.locator("[data-session=current]")).toContainText("This browser");
    const others = elsewhere.locator("[data-session=other]");
    await expect(others.first()).toBeVisible();
    await inspectLooks(elsewhere, "17-profile");
    await page.goto("/ui/profile");
    await expect(page.locator("[data-session=other]").first()).toBeVisible();
    const before = await page.locator("[data-session=other]").count();
    await page.locator("[data-session=other]").first().getByRole("button").click();
    await expect(page.locator("[data-session=other]")).toHaveCount(before - 1);
    await elsewhere.reload();
    await expect(elsewhere).toHaveURL(/\/ui\/sign-in/);
    await other.close();
  });
});

test("shortcuts navigate the pages and are listed", async ({ page }) => {
  await page.goto("/ui/");
  await page.getByRole("article").first().waitFor();
  await page.keyboard.press("g");
  await page.keyboard.press("q");
  await expect(page).toHaveURL("/ui/queue");
  await page.keyboard.press("g");
  await page.keyboard.press("d");
  await expect(page).toHaveURL("/ui/deployments");
  await page.keyboard.press("?");
  const help = page.getByRole("dialog", { name: "Keyboard shortcuts" });
  await expect(help).toContainText("Next deployment");
  await inspectLooks(page, "18-shortcuts");
  await page.keyboard.press("Escape");
  await page.getByLabel("Origin").fill("g");
  await page.getByLabel("Origin").press("s");
  await expect(page).toHaveURL("/ui/deployments");
});
