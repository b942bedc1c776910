import { expect, test } from "@playwright/test";
import { account, PLAIN_HOST } from "./target";

test.use({ storageState: { cookies: [], origins: [] } });

test("a token is copied from its dialog on a plain http:// address", async ({ page, baseURL }) => {
  test.skip(!baseURL?.startsWith("http://127.0.0.1:"), "This server is not on this machine.");
  const { user, password } = account();
  await page.goto(`http://${PLAIN_HOST}:${new URL(baseURL ?? "").port}/ui/tokens`);
  // The browser offers no clipboard API here, and a dialog keeps the focus inside.
  expect(await page.evaluate(() => window.isSecureContext)).toBe(false);
  await page.getByLabel("Username").fill(user);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();

  await page.getByRole("button", { name: "New token" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Origin").fill("Plain http");
  await dialog.getByRole("button", { name: "Create token" }).click();
  const token = await dialog.getByLabel("Token", { exact: true }).inputValue();
  await dialog.getByRole("button", { name: "Copy", exact: true }).first().click();
  await expect(dialog.getByRole("button", { name: "Copied", exact: true })).toBeVisible();
  await dialog.getByRole("button", { name: "I have copied it" }).click();
  const search = page.getByRole("searchbox", { name: "Search tokens" });
  await search.focus();
  await page.keyboard.press("ControlOrMeta+v");
  await expect(search).toHaveValue(token);
});
