import { expect, test } from "@playwright/test";
import { account, SIGNED_IN } from "./target";

test("sign in", async ({ page }) => {
  const { user, password } = account();
  await page.goto("/ui/deployments");
  await expect(page).toHaveURL(/\/ui\/sign-in\?next=/);
  await page.getByLabel("Username").fill(user);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page).toHaveURL(/\/ui\/deployments$/);
  await page.context().storageState({ path: SIGNED_IN });
});
