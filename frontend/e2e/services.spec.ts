import { expect, test, type Page } from "@playwright/test";
import { deploy, expectOutcome } from "./app";
import { complaintsOf, inspectLooks } from "./looks";
import { account } from "./target";

let complaints: string[] = [];

test.beforeEach(({ page }) => { complaints = complaintsOf(page); });
test.afterEach(() => expect(complaints).toEqual([]));

const articles = (page: Page) => page.getByRole("article");

/** Makes the page show this many services, copied from the existing ones. */
async function pretend(page: Page, count: number): Promise<void> {
  await page.route(/\/services\/$/, async (route) => {
    const response = await route.fetch();
    const given = await response.json() as { id: number; name: string }[];
    const many = Array.from({ length: count }, (_, index) => {
      const one = given[index % given.length];
      return { ...one, id: 1000 + index, name: `${one?.name}-${String(index).padStart(3, "0")}` };
    });
    await route.fulfill({ response, json: many });
  });
}

test.describe("the overview", () => {
  test("can be searched with / by words in names and descriptions", async ({ page }) => {
    await page.goto("/ui/");
    await expect(articles(page).first()).toBeVisible();
    await page.keyboard.press("/");
    const search = page.getByRole("searchbox", { name: "Search services" });
    await expect(search).toBeFocused();
    await page.keyboard.type("SHELL hello");
    await expect(articles(page).locator("h2")).toHaveText(["hello-shell"]);
    await page.keyboard.press("Enter");
    await expect(page.getByRole("heading", { name: "hello-shell", level: 1 })).toBeVisible();
    await page.goBack();
    await expect(search).toHaveValue("SHELL hello");
    await search.fill("nothing like it");
    await expect(page.getByRole("heading", { name: "No service matches “nothing like it”" })).toBeVisible();
    await inspectLooks(page, "services-no-match");
    await search.press("Escape");
    await expect(search).toHaveValue("");
    await expect(articles(page).first()).toBeVisible();
  });

  test("filters failed services", async ({ page }) => {
    await deploy(page, "fails-halfway");
    await expectOutcome(page, "failure");
    await page.goto("/ui/");
    await page.getByText("Failed", { exact: false }).filter({ has: page.getByRole("radio") }).click();
    await expect(page.locator("[data-service=fails-halfway]")).toContainText(`by ${account().user}`);
    await expect(page.locator("[data-service=hello-python]")).toHaveCount(0);
    await expect(page).toHaveURL(/\?show=failed$/);
    await page.reload();
    await expect(page.locator("[data-service=fails-halfway]")).toBeVisible();
  });

  for (const count of [1, 30]) {
    test(`shows ${count} services`, async ({ page }) => {
      await pretend(page, count);
      await page.goto("/ui/");
      await expect(articles(page)).toHaveCount(count);
      await inspectLooks(page, `services-${count}`);
    });
  }

  test("shows 300 services", async ({ page }) => {
    await pretend(page, 300);
    await page.goto("/ui/");
    await expect(articles(page)).toHaveCount(300);
    await page.getByRole("searchbox", { name: "Search services" }).fill("slow 01");
    await expect(articles(page)).not.toHaveCount(300);
    await inspectLooks(page, "services-300");
  });

  test("explains how to add the first service", async ({ page }) => {
    await page.route(/\/services\/$/, route => route.fulfill({ json: [] }));
    await page.goto("/ui/");
    await expect(page.getByRole("heading", { name: "No services yet" })).toBeVisible();
    await inspectLooks(page, "services-empty");
  });

  test("shows an error when it cannot be loaded, and recovers", async ({ page }) => {
    await page.route(/\/services\/$/, route => route.fulfill({ status: 500, json: { detail: "Oh" } }));
    await page.goto("/ui/");
    await expect(page.getByRole("alert")).toContainText("Server error (500).");
    await inspectLooks(page, "services-error");
    await page.unroute(/\/services\/$/);
    await page.getByRole("button", { name: "Try again" }).click();
    await expect(articles(page).first()).toBeVisible();
  });
});

test("shows a service's history as figures, a chart, and a table", async ({ page }) => {
  for (let times = 0; times < 2; times += 1) {
    await deploy(page, "hello-shell");
    await expectOutcome(page, "success");
  }
  await page.goto("/ui/");
  await page.getByRole("link", { name: "hello-shell", exact: true }).click();
  const chart = page.getByRole("img", { name: /^Last \d+ deployments: success rate \d+%/ });
  await expect(chart.locator("canvas")).toBeVisible();
  await expect(page.getByText("Deployment steps").locator("..")).toContainText(/Say hello.*\d s/s);
  await inspectLooks(page, "service-chart");
  await page.getByText("Show as a table").click();
  await expect(page.getByRole("table").getByRole("row").nth(1)).toContainText(/#\d+Succeeded1/);
  await inspectLooks(page, "service-table");
  // A change of the theme draws the chart again.
  let box = await chart.locator(".u-over").boundingBox();
  await expect.poll(async () => (box = await chart.locator(".u-over").boundingBox())).not.toBeNull();
  if (!box) throw new Error("The chart has no size");
  await page.mouse.move(box.x + box.width - 30, box.y + box.height / 2);
  await expect(chart).toContainText("Succeeded");
  await page.mouse.down();
  await page.mouse.up();
  await expect(page).toHaveURL(/\/deployments\/\d+$/);
  await expectOutcome(page, "success");
});

test("a token for CI is created, used by a snippet, and revoked", async ({ page }) => {
  await page.goto("/ui/");
  await page.getByRole("link", { name: "all-inputs", exact: true }).click();
  await page.getByRole("button", { name: "New token" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Origin").fill("Build server");
  await dialog.getByRole("button", { name: "Create token" }).click();
  const token = await dialog.getByRole("textbox", { name: "Token", exact: true }).inputValue();
  expect(token).toMatch(/^ey/);
  await expect(dialog.getByRole("group", { name: "GitHub Actions" })).toContainText("secrets.FASTDEPLOY_TOKEN");
  await dialog.getByRole("tab", { name: "GitLab CI" }).click();
  await expect(dialog.getByRole("group", { name: "GitLab CI" })).toContainText(new URL(page.url()).origin);
  await expect(dialog.getByRole("group", { name: "GitLab CI" })).toContainText("\"version\":\"v1.4.2\"");
  await page.keyboard.press("Escape");
  await expect(dialog).toBeVisible();
  await inspectLooks(page, "service-token");
  await dialog.getByRole("button", { name: "I have copied it" }).click();
  await expect(page.locator("body")).not.toContainText(token);

  const row = page.locator("[data-token]").filter({ hasText: "Build server" });
  await expect(row).toContainText(`by ${account().user}`);
  await expect(row).toContainText("never");
  // Accepted but incomplete, so that nothing starts that other tests would see.
  const start = () => page.request.post("/deployments/", { headers: { Authorization: `Bearer ${token}` }, data: { env: {} } });
  expect((await start()).status()).toBe(422);
  await page.goto("/ui/tokens");
  await expect(row).not.toContainText("never");
  await page.getByRole("searchbox", { name: "Search tokens" }).fill("build all");
  await expect(row).toBeVisible();
  await inspectLooks(page, "tokens");
  await row.getByRole("button", { name: "Revoke Build server" }).click();
  await expect(page.getByRole("alertdialog")).toContainText("Build server can no longer start deployments with it");
  await page.getByRole("button", { name: "Revoke token" }).click();
  await expect(row).toHaveCount(0);
  await page.getByText("Revoked", { exact: false }).filter({ has: page.getByRole("radio") }).click();
  await expect(row).toContainText("Revoked");
  expect((await start()).status()).toBe(401);
});
