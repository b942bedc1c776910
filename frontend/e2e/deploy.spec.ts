import { expect, test } from "@playwright/test";
import { deploy, expectOutcome, hasService, picture, readLog } from "./app";
import { account } from "./target";

test.describe("from sign-in to a finished deployment", () => {
  test.use({ storageState: { cookies: [], origins: [] } });

  test("sign in, deploy the example, see it finish", async ({ page }) => {
    const { user, password } = account();
    await page.goto("/");
    await expect(page).toHaveURL(/\/ui\/sign-in$/);
    await picture(page, "01-sign-in");
    await page.getByLabel("Username").fill(user);
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByRole("heading", { name: "Services", level: 1 })).toBeVisible();
    await picture(page, "02-services");

    await page.getByRole("button", { name: "Deploy hello-shell" }).click();
    await expect(page.getByRole("dialog", { name: "Deploy hello-shell?" })).toBeVisible();
    await picture(page, "03-deploy");
    await page.getByRole("button", { name: "Deploy now" }).click();

    await expect(page.getByRole("heading", { level: 1 })).toContainText("hello-shell");
    await expect(page.locator("[data-outcome=running], [data-outcome=success]")).toBeVisible();
    await picture(page, "04-running");
    await expectOutcome(page, "success");
    await expect(page.locator("[data-step][data-state=success]")).toHaveCount(3);
    await expect(page.getByRole("log")).toContainText("Hello, world!");
    await expect(page).toHaveTitle(/^Succeeded: hello-shell/);
    await picture(page, "05-succeeded");
  });

  test("a wrong password shows a generic error", async ({ page }) => {
    await page.goto("/ui/sign-in");
    await page.getByLabel("Username").fill("nobody");
    await page.getByLabel("Password").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByRole("alert")).toHaveText("Incorrect username or password.");
  });
});

test("a session survives a reload and stores no token that scripts can read", async ({ page }) => {
  await page.goto("/ui/");
  await expect(page.getByRole("article").first()).toBeVisible();
  await page.reload();
  await expect(page.getByRole("article").first()).toBeVisible();
  const stored = await page.evaluate(() =>
    JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  expect(stored).not.toContain("eyJ");
  expect(stored).not.toContain("session");
});

test("works using only the keyboard", async ({ page }) => {
  await page.goto("/ui/");
  await page.getByRole("button", { name: "Deploy hello-python" }).focus();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("dialog")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("button", { name: "Deploy hello-python" })).toBeFocused();
  await page.keyboard.press("Enter");
  for (let presses = 0; presses < 10; presses += 1) {
    const submit = page.getByRole("button", { name: "Deploy now" });
    if (await submit.evaluate(element => element === document.activeElement)) break;
    await page.keyboard.press("Tab");
  }
  await page.keyboard.press("Enter");
  await expectOutcome(page, "success");
});

test("a failed deployment shows the error first", async ({ page }) => {
  await deploy(page, "fails-halfway");
  await expectOutcome(page, "failure");
  const outcome = page.locator("[data-outcome]");
  await expect(outcome).toContainText("Failed at “Check the backup disk”");
  await expect(outcome).toContainText("There is no folder");
  await expect(page.getByRole("button", { name: "Retry" })).toBeVisible();
  await picture(page, "06-failed");
});

test("values reach the deployment and are shown", async ({ page }) => {
  await page.goto("/ui/");
  await page.getByRole("button", { name: "Deploy with-context" }).click();
  await page.getByText("Add values").click();
  await page.getByLabel("Name of value 1").fill("GREETING");
  await page.getByLabel("Value 1", { exact: true }).fill("Good morning");
  await page.getByRole("button", { name: "Deploy now" }).click();
  await expect(page.locator("[data-value=GREETING]")).toHaveText("GREETING: Good morning");
});

test("another browser sees the deployment appear", async ({ page, browser }) => {
  // Use a service that takes seconds, so that even a busy machine shows it running.
  const service = await hasService(page, "slow") ? "slow" : "hello-shell";
  const other = await browser.newContext({ storageState: await page.context().storageState() });
  const watcher = await other.newPage();
  await watcher.goto("/ui/deployments");
  await expect(watcher.locator("[data-live=live]")).toBeVisible();
  const id = await deploy(page, service);
  await expect(watcher.locator(`[data-deployment="${id}"]`)).toContainText("Running");
  await expect(watcher.locator(`[data-deployment="${id}"]`)).toContainText("Succeeded", { timeout: 90_000 });
  await other.close();
});

test.describe("watching a long deployment", () => {
  const expected = Array.from({ length: 80 }, (_, index) => `counting ${index + 1}`);

  test.beforeEach(async ({ page }) => {
    test.skip(!await hasService(page, "slow"), "This server does not have the services of e2e/services.");
  });

  test("with the socket cut again and again, no line is missing or duplicated", async ({ page }) => {
    let cut: (() => void) | undefined;
    await page.routeWebSocket(/\/deployments\/ws\//, (socket) => {
      const server = socket.connectToServer();
      cut = () => void server.close().then(() => socket.close());
    });
    await deploy(page, "slow");
    await expect(page.getByRole("log")).toContainText("counting 10");
    for (const line of [20, 40, 60]) {
      cut?.();
      await expect(page.locator("[data-live=live]")).toHaveCount(0);
      await expect(page.getByRole("log")).toContainText(`counting ${line}`);
    }
    await expectOutcome(page, "success");
    expect(await readLog(page)).toEqual(expected);
  });

  test("with the socket blocked, it still works and shows that it is not live", async ({ page }) => {
    await page.routeWebSocket(/\/deployments\/ws\//, socket => socket.close());
    await deploy(page, "slow");
    await expect(page.locator("[data-live=polling]")).toContainText("Reconnecting");
    // Which lines are rendered depends on the time of a poll.
    await expect(page.getByRole("log")).toContainText(/counting \d+/);
    await expectOutcome(page, "success");
    expect(await readLog(page)).toEqual(expected);
  });

  test("joining late shows earlier lines and follows only at the end of the log", async ({ page }) => {
    const id = await deploy(page, "slow");
    await expect(page.getByRole("log")).toContainText("counting 10");
    await page.goto(`/ui/deployments/${id}`);
    const log = page.getByRole("log");
    const count = async () => Number.parseInt(await page.getByText(/^\d+ lines$/).innerText(), 10);
    await expect.poll(count).toBeGreaterThan(35);
    await log.hover();
    await page.mouse.wheel(0, -2000);
    const follow = page.getByRole("button", { name: "Jump to latest" });
    await expect(follow).toBeVisible();
    const [top, before] = [await log.evaluate(element => element.scrollTop), await count()];
    await expect.poll(count).toBeGreaterThan(before);
    expect(await log.evaluate(element => element.scrollTop)).toBe(top);
    await follow.click();
    await expect(follow).toBeHidden();
    await expectOutcome(page, "success");
    expect(await readLog(page)).toEqual(expected);
  });

  test("cancelling stops the deployment after confirmation", async ({ page }) => {
    await deploy(page, "slow");
    await expect(page.getByRole("log")).toContainText("counting 5");
    await page.getByRole("button", { name: "Cancel deployment" }).click();
    await page.getByRole("button", { name: "Yes, cancel it" }).click();
    await expectOutcome(page, "cancelled");
    await expect(page.locator("[data-outcome]")).toContainText(account().user);
  });

  test("a second deployment waits, shows why, and starts automatically", async ({ page }) => {
    const first = await deploy(page, "slow");
    await page.getByRole("link", { name: "slow" }).first().click();
    await page.getByRole("button", { name: "Deploy", exact: true }).click();
    await expect(page.getByRole("dialog")).toContainText("Another deployment of slow is running.");
    await page.getByRole("button", { name: "Deploy now" }).click();
    await expect(page.locator("[data-outcome=queued]")).toContainText("Waiting to start");
    await expect(page.getByRole("link", { name: "View the blocking deployment" })).toHaveAttribute("href", new RegExp(`/${first}$`));
    await picture(page, "07-waiting");
    await expectOutcome(page, "running");
    await page.getByRole("button", { name: "Cancel deployment" }).click();
    await page.getByRole("button", { name: "Yes, cancel it" }).click();
    await expectOutcome(page, "cancelled");
  });
});
