import { expect, test } from "@playwright/test";
import { deploy, expectOutcome } from "./app";
import { complaintsOf, inspectThemes } from "./looks";

let complaints: string[] = [];

test.beforeEach(({ page }) => { complaints = complaintsOf(page); });
test.afterEach(() => expect(complaints).toEqual([]));

const pages = [
  ["deployments", "/ui/deployments", "Deployments"],
  ["deployments-filtered", "/ui/deployments?state=queued&user=nobody", "Deployments"],
  ["queue", "/ui/queue", "Queue"],
  ["tokens", "/ui/tokens", "Tokens"],
  ["users", "/ui/users", "Users"],
  ["access", "/ui/access", "Access"],
  ["profile", "/ui/profile", "Profile"],
] as const;

for (const [name, path, heading] of pages) {
  test(`${name}`, async ({ page }) => {
    await page.goto(path);
    await expect(page.getByRole("heading", { name: heading, level: 1 })).toBeVisible();
    await expect(page.locator("[data-live=live]")).toBeVisible();
    await page.waitForLoadState("networkidle");
    await inspectThemes(page, name);
  });
}

test("services and the deploy dialog", async ({ page }) => {
  await page.goto("/ui/");
  await expect(page.getByRole("article").first()).toBeVisible();
  await inspectThemes(page, "services");
  await page.getByRole("button", { name: "Deploy hello-shell" }).click();
  await page.getByText("Add values").click();
  await inspectThemes(page, "deploy");
});

test("a service", async ({ page }) => {
  await page.goto("/ui/");
  await page.getByRole("link", { name: "website", exact: true }).click();
  await expect(page.getByRole("heading", { name: "About" })).toBeVisible();
  await expect(page.locator(".prose")).toBeVisible();
  await inspectThemes(page, "service");
});

test("a running deployment that succeeds", async ({ page }) => {
  // The playbook is slow, so run it once.
  const playbook = test.info().project.name === "desktop";
  await deploy(page, playbook ? "website" : "hello-python");
  const started = page.locator("[data-outcome=running], [data-outcome=success]");
  // It may have to wait for another test's deployment.
  await expect(started).toBeVisible({ timeout: 90_000 });
  await inspectThemes(page, "deployment-running");
  await expectOutcome(page, "success");
  const step = page.locator("[data-step] button").nth(1);
  await step.click();
  await expect(step).toHaveAttribute("aria-expanded", "true");
  await inspectThemes(page, "deployment-succeeded");
});

test("a failed deployment", async ({ page }) => {
  await deploy(page, "fails-halfway");
  await expectOutcome(page, "failure");
  await inspectThemes(page, "deployment-failed");
});

test("a new token", async ({ page }) => {
  await page.goto("/ui/tokens");
  await page.getByRole("button", { name: "New token" }).click();
  await page.getByLabel("Origin").fill("GitHub");
  await inspectThemes(page, "token-new");
  await page.getByRole("button", { name: "Create token" }).click();
  await expect(page.getByLabel("Token", { exact: true })).toHaveValue(/^ey/);
  await inspectThemes(page, "token-created");
  await page.getByRole("button", { name: "I have copied it" }).click();
  await expect(page.locator("[data-token]").first()).toContainText("GitHub");
});

test("the account menu", async ({ page }) => {
  await page.goto("/ui/profile");
  await page.getByRole("button", { name: /^Account menu for/ }).click();
  await expect(page.getByRole("menu")).toBeVisible();
  await inspectThemes(page, "menu");
});

test("a missing page and a missing deployment", async ({ page }) => {
  await page.goto("/ui/nothing/here");
  await expect(page.getByRole("heading", { name: "Page not found" })).toBeVisible();
  await inspectThemes(page, "not-found");
  await page.goto("/ui/deployments/999999999");
  await expect(page.getByRole("heading", { name: "Deployment not found" })).toBeVisible();
  await inspectThemes(page, "deployment-not-found");
});

test("sign in", async ({ browser }, testInfo) => {
  const { viewport, colorScheme, baseURL } = testInfo.project.use;
  const storageState = { cookies: [], origins: [] };
  const context = await browser.newContext({ viewport, colorScheme, baseURL, storageState });
  const page = await context.newPage();
  await page.goto("/ui/sign-in");
  await expect(page.getByLabel("Username")).toBeVisible();
  await inspectThemes(page, "sign-in");
  await context.close();
});

test("offline", async ({ page }) => {
  await page.goto("/ui/");
  await expect(page.getByRole("article").first()).toBeVisible();
  await page.routeWebSocket(/\/deployments\/ws\//, socket => socket.close());
  await page.route(/\/(services|deployments)\//, route => route.abort());
  await page.getByRole("link", { name: "Deployments" }).click();
  await expect(page.getByRole("alert")).toContainText("Can't reach the server.");
  await inspectThemes(page, "offline");
});
