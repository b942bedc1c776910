import { expect, test } from "@playwright/test";
import { expectOutcome, readLog } from "./app";
import { Api } from "./api";
import { inspectLooks } from "./looks";

let api: Api;

test.beforeEach(async ({ page }) => {
  api = await Api.of(page);
  test.skip(await api.serviceId("counts") === null, "This server does not have the services of e2e/services.");
});

test("with the socket dropped mid-run, the page has exactly what the server has", async ({ page }) => {
  test.skip(!process.env.ALL_LOOKS, "In the first tier, a test in deploy.spec.ts cuts the socket again and again.");
  let cut: (() => void) | undefined;
  await page.routeWebSocket(/\/deployments\/ws\//, (socket) => {
    const server = socket.connectToServer();
    cut = () => void server.close().then(() => socket.close());
  });
  // It must still be running after a busy machine has loaded the page.
  const { id } = await api.start("slow-deployment");
  await page.goto(`/ui/deployments/${id}`);
  const log = page.getByRole("log");
  await expect(log).toContainText(/counting \d+/);
  cut?.();
  await expect(page.locator("[data-live=live]")).toHaveCount(0);
  await expect(log).toContainText("counting 70", { timeout: 60_000 });
  cut?.();
  await expectOutcome(page, "success");
  const lines = (await api.outputLines(id)).map(line => line.replaceAll(/\u001b\[\d+m/g, ""));
  expect(lines).toHaveLength(80);
  expect(await readLog(page)).toEqual(lines);
});

test("the title and the tab icon show the progress", async ({ page }) => {
  const { id } = await api.start("counts");
  await page.goto(`/ui/deployments/${id}`);
  const icon = () => page.locator("link[rel=icon]").getAttribute("href");
  await expect(page).toHaveTitle(/^Running.*: counts #\d+ – fastDeploy$/);
  await expect.poll(icon).toContain("stroke-dasharray");
  await expectOutcome(page, "success");
  await expect(page).toHaveTitle(/^Succeeded: counts/);
  await expect.poll(icon).not.toContain("stroke-dasharray");
  await page.getByRole("link", { name: "Queue" }).click();
  await expect.poll(icon).toContain("/ui/favicon.svg");
});

test("steps stay opened or closed; expected durations come from earlier runs", async ({ page }) => {
  await api.ended((await api.start("slow-deployment")).id);
  // It must still be running after a busy machine has loaded the page.
  const { id } = await api.start("slow-deployment");
  await page.goto(`/ui/deployments/${id}`);
  const count = page.locator("[data-step='Count slowly']");
  await expect(count).toContainText("usually");
  await expect(count.getByRole("progressbar")).toBeVisible();
  await expect(page.locator("[data-outcome=running]")).toContainText(/About .* left|Almost done|longer than usual/);
  await expectOutcome(page, "success");
  await expect(count.getByRole("progressbar")).toHaveCount(0);
  await inspectLooks(page, "10-deployment-finished");
});

test("links to lines, ranges and steps open at the right place", async ({ page }) => {
  const { id } = await api.start("counts");
  await api.ended(id);
  await page.goto(`/ui/deployments/${id}#L60-L62`);
  const marked = page.locator(".log-line-now .text");
  await expect(marked).toHaveText(["number 59", "number 60", "number 61"]);
  await expect(marked.first()).toBeInViewport();
  await page.locator("[data-line='61']").click();
  await expect(page).toHaveURL(/#L61$/);
  await page.locator("[data-line='64']").click({ modifiers: ["Shift"] });
  await expect(page).toHaveURL(/#L61-L64$/);
  await page.getByRole("button", { name: "Show step Count" }).click();
  await expect(page).toHaveURL(/#step-\d+$/);
  const step = page.locator("[data-step='Count']");
  await expect(step).toHaveAttribute("data-linked", "true");

  const address = page.url();
  await page.goto("/ui/queue");
  await page.goto(address);
  await expect(step.getByRole("button").first()).toHaveAttribute("aria-expanded", "true");
  await expect(page.locator(".log-line-step").first()).toContainText("number 1");
});

test("a user who has scrolled up sees the number of new lines", async ({ page }) => {
  const { id } = await api.start("slow-deployment");
  await page.goto(`/ui/deployments/${id}#L1`);
  const jump = page.getByRole("button", { name: "Jump to latest" });
  // Fill the visible part of the log first, so that new lines are below it.
  await expect(page.getByRole("log")).toContainText("counting 30");
  await page.getByRole("log").evaluate(log => log.scrollTo(0, 0));
  await expect(jump).toContainText(/\d+ new lines/);
  await page.keyboard.press("e");
  await expect(jump).toBeHidden();
  await page.keyboard.press("/");
  await page.keyboard.type("counting");
  await expect(page.getByRole("toolbar")).toContainText(/1 of \d+/);
  const matches = async () => Number(/of (\d+)/.exec(await page.getByRole("toolbar").innerText())?.[1]);
  const before = await matches();
  await expect.poll(matches).toBeGreaterThan(before);
  await expectOutcome(page, "success");
  await expect.poll(matches).toBe(80);
});

test("a failed deployment shows the step and the changes since the last success; a retry asks for the secret", async ({ page }) => {
  await api.ended((await api.start("asks", { size: 2, key: "first-secret" }, "asks")).id);
  const { id } = await api.start("asks", { size: 3, key: "second-secret" }, "asks");
  expect(await api.ended(id)).toBe("failure");
  await page.goto(`/ui/deployments/${id}`);
  const outcome = page.locator("[data-outcome=failure]");
  await expect(outcome).toContainText("Failed at “Resize”");
  await expect(outcome).toContainText("there is no room for 3");
  await expect(page.locator("[data-changes]")).toContainText("size");
  await expect(page.locator("[data-changes] ins").first()).toHaveText("3");
  await inspectLooks(page, "11-deployment-failed");

  await page.getByRole("button", { name: "Retry" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Access key").fill("third-secret");
  const submit = dialog.getByRole("button", { name: "Deploy again" });
  await expect(submit).toBeDisabled();
  await inspectLooks(page, "12-retry");
  await dialog.getByLabel("Type asks to confirm").fill("asks");
  await submit.click();
  await page.waitForURL(new RegExp(`/deployments/(?!${id}$)\\d+$`));
  await expect(page.getByRole("link", { name: `#${id}` })).toBeVisible();
  expect(await page.content()).not.toContain("secret");
});

test("can be cancelled using only the keyboard", async ({ page }) => {
  const { id } = await api.start("slow-deployment");
  await page.goto(`/ui/deployments/${id}`);
  await page.getByRole("button", { name: "Cancel deployment" }).focus();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("alertdialog")).toContainText("It stops immediately, mid-step");
  await expect(page.getByRole("button", { name: "Don't cancel" })).toBeFocused();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await expectOutcome(page, "cancelled");
  await expect(page.getByRole("button", { name: "Deploy again" })).toBeVisible();
});
