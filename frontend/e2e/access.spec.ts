import { expect, test, type Browser, type Page } from "@playwright/test";
import { Api } from "./api";
import { complaintsOf, inspectLooks } from "./looks";

// The other tests sign in as an administrator, so it does not matter to them what `everyone` may do in the meantime.
const VIEWER = { name: "viewer", password: "only-for-viewing-42" };
const SERVICE = "hello-shell";

let complaints: string[] = [];

test.beforeEach(({ page }) => { complaints = complaintsOf(page); });
test.afterEach(() => expect(complaints).toEqual([]));

/** Opens a browser of its own and signs in as the user who is not an administrator. */
async function signInAsViewer(browser: Browser, baseURL: string | undefined): Promise<Page> {
  const context = await browser.newContext({ baseURL, storageState: { cookies: [], origins: [] } });
  const page = await context.newPage();
  await page.goto("/ui/");
  await page.getByLabel("Username").fill(VIEWER.name);
  await page.getByLabel("Password").fill(VIEWER.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("article").first()).toBeVisible();
  await expect(page.locator("[data-live=live]")).toBeVisible();
  return page;
}

/** Calls the API without the page. */
async function startAnyway(page: Page, serviceId: number): Promise<number> {
  const form = { username: VIEWER.name, password: VIEWER.password };
  const { access_token: token } = await (await page.request.post("/token", { form })).json() as { access_token: string };
  const headers = { Authorization: `Bearer ${token}` };
  const answer = await page.request.post(`/services/${serviceId}/deployments`, { headers, data: { env: {} } });
  return answer.status();
}

async function addGrant(page: Page, who: string, permission: string, service?: string): Promise<void> {
  const form = page.getByRole("form", { name: "Add grant" });
  await form.getByLabel("Who").selectOption({ label: who });
  await form.getByLabel("Permission").selectOption(permission);
  if (service) await form.getByLabel("On", { exact: true }).selectOption("service");
  if (service) await form.getByLabel("Service").selectOption({ label: service });
  await form.getByRole("button", { name: "Add grant" }).click();
}

async function apply(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Preview changes" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Apply changes" }).click();
  await expect(page.getByText("The changes were applied.").first()).toBeVisible();
  await expect(page.getByRole("dialog")).toHaveCount(0);
}

test("an administrator narrows everyone, and gives a group one service", async ({ page, browser, baseURL }) => {
  const api = await Api.of(page);
  // An attempt before this one may have ended anywhere.
  await api.resetAccess();
  if (test.info().retry === 0) await api.createUser(VIEWER.name, VIEWER.password);
  const serviceId = await api.serviceId(SERVICE) ?? 0;
  const viewer = await signInAsViewer(browser, baseURL);
  const viewerComplaints = complaintsOf(viewer);
  const deploy = viewer.getByRole("button", { name: `Deploy ${SERVICE}`, exact: true });
  await expect(deploy).toBeVisible();

  await page.goto("/ui/access");
  await expect(page.getByRole("heading", { name: "Access", level: 1 })).toBeVisible();
  await page.getByRole("button", { name: "Remove grant: everyone, manage, All services" }).click();
  await addGrant(page, "everyone (all users)", "view");
  await expect(page.getByText("2 changes, not applied yet")).toBeVisible();
  await inspectLooks(page, "access-draft");
  await page.getByRole("button", { name: "Preview changes" }).click();
  const losses = page.getByRole("dialog").locator("[data-effect=losses]");
  await expect(losses).toContainText("After this change, 1 person loses permissions");
  await losses.getByText(VIEWER.name).click();
  await expect(losses).toContainText(`${SERVICE} – manage → view`);
  await inspectLooks(page, "access-preview");
  await page.getByRole("dialog").getByRole("button", { name: "Apply changes" }).click();
  await expect(page.getByText("The changes were applied.").first()).toBeVisible();

  await expect(deploy).toHaveCount(0);
  await expect(viewer.getByText("You can view these services, but not deploy them.")).toBeVisible();
  expect(await startAnyway(page, serviceId)).toBe(403);
  await inspectLooks(viewer, "services-view-only");

  await page.getByRole("button", { name: "New group" }).click();
  await page.getByRole("dialog").getByLabel("Name").fill("shells");
  await page.getByRole("dialog").getByRole("button", { name: "Create group" }).click();
  const group = page.locator("[data-group=shells]");
  await group.locator("summary").click();
  await group.getByLabel("Add a member").selectOption({ label: VIEWER.name });
  await addGrant(page, "shells", "deploy", SERVICE);
  await inspectLooks(page, "access-group");
  await apply(page);
  await expect(deploy).toBeVisible();
  await expect(viewer.getByRole("button", { name: /^Deploy / })).toHaveCount(1);
  expect(await startAnyway(page, serviceId)).toBe(200);

  await page.getByLabel("What can a user do, and why?").selectOption({ label: VIEWER.name });
  await expect(page.getByRole("heading", { name: `Access of ${VIEWER.name}` })).toBeVisible();
  await expect(page.locator(`[data-rights=${SERVICE}]`)).toContainText("deploy, through the group shells, on this service");
  await inspectLooks(page, "access-of-user");
  await viewer.goto("/ui/profile");
  await expect(viewer.getByRole("heading", { name: "What you can do" })).toBeVisible();
  await inspectLooks(viewer, "profile-rights");

  await page.goto("/ui/access");
  await page.getByRole("button", { name: "Remove grant: everyone, view, All services" }).click();
  await page.getByRole("button", { name: `Remove grant: shells, deploy, ${SERVICE}` }).click();
  await page.getByRole("button", { name: "Remove grant: everyone, sync, Reload services" }).click();
  await apply(page);
  await expect(viewer.getByText("You don't have access to any services yet")).toBeVisible();
  await viewer.goto(`/ui/services/${serviceId}`);
  await expect(viewer.getByRole("heading", { name: "Page not found" })).toBeVisible();
  await viewer.goto("/ui/");
  await expect(viewer.getByText(`Your username is ${VIEWER.name}.`)).toBeVisible();
  await inspectLooks(viewer, "services-no-access");
  await addGrant(page, "everyone (all users)", "sync");
  await addGrant(page, "everyone (all users)", "manage");
  await apply(page);
  await expect(deploy).toBeVisible();
  expect(viewerComplaints).toEqual([]);
});
