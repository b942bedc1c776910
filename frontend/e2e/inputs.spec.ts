import { expect, test, type Locator, type Page } from "@playwright/test";
import { expectOutcome, hasService, readLog } from "./app";
import { complaintsOf, inspectLooks } from "./looks";
import { account } from "./target";

let complaints: string[] = [];

test.beforeEach(async ({ page }) => {
  complaints = complaintsOf(page);
  test.skip(!await hasService(page, "all-inputs"), "needs the services of e2e/services");
});

test.afterEach(() => expect(complaints).toEqual([]));

async function open(page: Page, service: string): Promise<Locator> {
  await page.getByRole("button", { name: `Deploy ${service}`, exact: true }).click();
  const dialog = page.getByRole("dialog");
  await expect(dialog.locator("[data-field], dl").first()).toBeVisible();
  return dialog;
}

const next = (dialog: Locator) => dialog.getByRole("button", { name: "Continue" }).click();
const field = (dialog: Locator, name: string) => dialog.locator(`[data-field=${name}]`);
const summary = (dialog: Locator, name: string) => dialog.locator(`[data-value=${name}]`);

test("deploys with every kind of input", async ({ page }) => {
  const dialog = await open(page, "all-inputs");
  await inspectLooks(page, "inputs");

  await test.step("missing values are reported immediately, and the first field has focus", async () => {
    await next(dialog);
    await expect(dialog.getByRole("textbox", { name: "Version" })).toBeFocused();
    await expect(field(dialog, "version")).toContainText("This field is required.");
    await expect(field(dialog, "password")).toContainText("This field is required.");
  });

  await test.step("errors are shown at their field", async () => {
    await dialog.getByRole("textbox", { name: "Version" }).fill("1.4");
    await expect(field(dialog, "version")).toContainText("Example: v1.4.2");
    await dialog.getByRole("textbox", { name: "Version" }).fill("v1.4");
    await expect(field(dialog, "version")).not.toContainText("Example:");
    await dialog.getByRole("spinbutton", { name: "Replicas" }).fill("9");
    await expect(field(dialog, "replicas")).toContainText("Must be at most 5.");
    await dialog.getByRole("spinbutton", { name: "Replicas" }).fill("3");
    await dialog.getByRole("spinbutton", { name: "Replicas" }).press("ArrowUp");
    await expect(dialog.getByRole("spinbutton", { name: "Replicas" })).toHaveValue("4");
  });

  await test.step("conditional fields appear", async () => {
    await expect(field(dialog, "ticket")).toHaveCount(0);
    await dialog.getByText("Production").click();
    await dialog.getByRole("textbox", { name: "Ticket" }).fill("T-77");
    await dialog.getByRole("switch", { name: "Migrate the database" }).click();
    await expect(dialog.getByRole("switch", { name: "Back up first" })).toHaveAttribute("aria-checked", "true");
  });

  await test.step("the remaining fields", async () => {
    await dialog.getByRole("textbox", { name: "Release notes" }).fill("A new front page\nand faster search");
    await dialog.getByRole("combobox", { name: "Region" }).selectOption("Lisbon");
    await dialog.getByRole("checkbox", { name: "Mail" }).check();
    await dialog.getByRole("combobox", { name: "Branch" }).selectOption("next");
    await dialog.getByLabel("Announcement date").fill("2030-05-17");
    const secret = dialog.getByRole("textbox", { name: "Registry password" });
    await expect(secret).toHaveAttribute("type", "password");
    await secret.fill("hunter2-hunter2");
    await dialog.getByRole("button", { name: "Show Registry password" }).click();
    await expect(secret).toHaveAttribute("type", "text");
    await dialog.getByRole("button", { name: "Hide Registry password" }).click();
  });

  await test.step("the summary shows what will happen and all values", async () => {
    await next(dialog);
    await expect(dialog).toContainText("Script deploy.py");
    await expect(dialog).toContainText("Read the values → Print them");
    await expect(summary(dialog, "environment")).toContainText("Environment: Production");
    await expect(summary(dialog, "parts")).toContainText("Website, Mail");
    await expect(summary(dialog, "password")).toContainText("provided, hidden");
    await expect(dialog).not.toContainText("hunter2");
    await inspectLooks(page, "inputs-summary");
  });

  await test.step("the user confirms with the service name", async () => {
    const go = dialog.getByRole("button", { name: "Deploy now" });
    await expect(go).toBeDisabled();
    await dialog.getByRole("textbox", { name: "Type all-inputs to confirm" }).fill("all-inputs");
    await go.click();
    await page.waitForURL(/\/deployments\/\d+$/);
    await expectOutcome(page, "success");
  });

  await test.step("the script received all values, and the secret is not shown", async () => {
    const log = (await readLog(page)).join("\n");
    for (const line of [
      "version = \"v1.4\"", "notes = \"A new front page\\nand faster search\"", "replicas = 4", "environment = \"production\"",
      "region = \"Lisbon\"", "parts = [\"web\", \"mail\"]", "branch = \"next\"", "day = \"2030-05-17\"", "migrate = true",
      "backup = true", "ticket = \"T-77\"", "password = \"***\"",
    ]) expect(log).toContain(line);
  });

  await test.step("previous values can be reused, except secrets", async () => {
    await page.goto("/ui/");
    const again = await open(page, "all-inputs");
    await again.getByRole("button", { name: "Reuse previous values" }).click();
    await expect(again.getByRole("textbox", { name: "Version" })).toHaveValue("v1.4");
    await expect(again.getByRole("textbox", { name: "Ticket" })).toHaveValue("T-77");
    await expect(again.getByRole("spinbutton", { name: "Replicas" })).toHaveValue("4");
    await expect(again.getByRole("combobox", { name: "Branch" })).toHaveValue("1");
    await expect(again.getByRole("textbox", { name: "Registry password" })).toHaveValue("");
    await again.getByRole("button", { name: "Start over" }).click();
    await expect(again.getByRole("textbox", { name: "Version" })).toHaveValue("");
  });
});

test("server errors are shown at their field; choices that failed to load are loaded again", async ({ page }) => {
  const dialog = await open(page, "unknown-choices");
  await expect(dialog).toContainText("Some choices could not be loaded");
  await expect(dialog).toContainText("no branches today");
  const asked = page.waitForResponse(/\/services\/\d+\/inputs$/);
  await dialog.getByRole("button", { name: "Try again" }).click();
  expect((await asked).status()).toBe(200);
  await inspectLooks(page, "inputs-unknown");
  await dialog.getByRole("textbox", { name: "Branch" }).fill("main");
  await next(dialog);
  await dialog.getByRole("button", { name: "Deploy now" }).click();
  await expect(field(dialog, "branch")).toContainText("The choices could not be loaded.");
  await expect(dialog.getByRole("textbox", { name: "Branch" })).toBeFocused();
  await dialog.getByRole("textbox", { name: "Branch" }).fill("");
  await next(dialog);
  await dialog.getByRole("button", { name: "Deploy now" }).click();
  await expectOutcome(page, "success");
});

test("entered values survive closing the dialog by accident", async ({ page }) => {
  const dialog = await open(page, "all-inputs");
  await dialog.getByRole("textbox", { name: "Version" }).fill("v9");
  await page.keyboard.press("Escape");
  await expect(dialog).toBeHidden();
  await open(page, "all-inputs");
  await expect(dialog.getByRole("textbox", { name: "Version" })).toHaveValue("v9");
});

test("a double click starts one deployment", async ({ page }) => {
  const sent: string[] = [];
  page.on("request", (request) => {
    if (request.method() === "POST" && request.url().endsWith("/deployments")) sent.push(request.url());
  });
  const dialog = await open(page, "hello-shell");
  await dialog.getByRole("button", { name: "Deploy now" }).dblclick();
  await page.waitForURL(/\/deployments\/\d+$/);
  expect(sent).toHaveLength(1);
});

test("using only the keyboard", async ({ page }) => {
  await page.getByRole("link", { name: "all-inputs", exact: true }).click();
  await expect(page.getByRole("heading", { name: "Inputs", exact: true })).toBeVisible();
  await page.keyboard.press("d");
  const dialog = page.getByRole("dialog");
  await expect(dialog.getByRole("textbox", { name: "Version" })).toBeFocused();
  await page.keyboard.type("v2");
  for (const name of ["Release notes", "Replicas"]) {
    await page.keyboard.press("Tab");
    await expect(dialog.getByLabel(name)).toBeFocused();
  }
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Tab");
  await expect(dialog.getByRole("radio", { name: "Staging" })).toBeFocused();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Tab");
  await expect(dialog.getByRole("textbox", { name: "Ticket" })).toBeFocused();
  await page.keyboard.type("T-1");
  const secret = dialog.getByRole("textbox", { name: "Registry password" });
  for (let tabs = 0; tabs < 20 && !await secret.evaluate(element => element === document.activeElement); tabs += 1) {
    await page.keyboard.press("Tab");
  }
  await page.keyboard.type("secret-by-keyboard");
  await page.keyboard.press("Enter");
  await expect(dialog.getByRole("textbox", { name: "Type all-inputs to confirm" })).toBeFocused();
  await page.keyboard.type("all-inputs");
  await page.keyboard.press("Enter");
  await expectOutcome(page, "success");
  expect((await readLog(page)).join("\n")).toContain("environment = \"production\"");
});

test("a deployment takes three clicks after sign-in", async ({ browser, baseURL }) => {
  const context = await browser.newContext({ baseURL, storageState: { cookies: [], origins: [] } });
  const page = await context.newPage();
  const { user, password } = account();
  await page.goto("/ui/");
  await page.getByLabel("Username").fill(user);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Deploy hello-shell", exact: true }).click();
  await page.getByRole("button", { name: "Deploy now" }).click();
  await expectOutcome(page, "success");
  await context.close();
});
