import { flushPromises } from "@vue/test-utils";
import { beforeEach, describe, expect, it } from "vitest";
import type { Rights } from "@/api/types";
import AccessView from "@/views/AccessView.vue";
import ProfileView from "@/views/ProfileView.vue";
import UserAccessView from "@/views/UserAccessView.vue";
import { freshStores, mountInApp, signIn } from "../support/app";
import { aGrant, aReason, aRightsChange, aService, aUser, rightsOn, someAccess, someRights } from "../support/data";
import { FakeServer, FakeSocket } from "../support/network";

let server: FakeServer;

beforeEach(() => {
  freshStores();
  FakeSocket.install();
  document.body.replaceChildren();
  server = new FakeServer()
    .json("GET /sessions/", []).json("GET /services/", [aService(), aService({ id: 2, name: "wiki" })])
    .json("GET /access/", someAccess())
    .json("GET /users/", [aUser({ is_admin: true }), aUser({ id: 2, name: "jonas" })]);
});

const dialog = () => document.querySelector<HTMLElement>("[role=dialog]");

function press(text: string, within: ParentNode = document.body): void {
  const button = [...within.querySelectorAll<HTMLElement>("button")].find(element => element.textContent.trim() === text);
  if (!button) throw new Error(`There is no button “${text}”`);
  button.click();
}

function signInWith(fields: Partial<Rights>): Promise<void> {
  return signIn(server, aUser({ is_admin: fields.is_admin ?? false }), someRights(fields));
}

describe("the access page", () => {
  it("is for administrators only", async () => {
    await signInWith({});
    const { wrapper } = await mountInApp(AccessView);
    expect(wrapper.text()).toContain("Only administrators can see this page");
    expect(server.called("GET /access/")).toHaveLength(0);
  });

  it("previews a draft, losses first, and then applies it", async () => {
    await signInWith({ is_admin: true });
    const { wrapper } = await mountInApp(AccessView);
    expect(wrapper.get("[data-grant=kept]").text()).toContain("everyone");
    expect(wrapper.get("[data-grant=kept]").text()).toContain("All users");
    await wrapper.get("[aria-label='Remove grant: everyone, manage, All services']").trigger("click");
    await wrapper.get("form").trigger("submit");
    expect(wrapper.text()).toContain("2 changes, not applied yet");
    const many = [1, 2, 3, 4, 5]
      .map(id => aRightsChange({ user_id: 2, user: "jonas", service_id: id, service: `service-${id}` }));
    const changes = [aRightsChange({ user_id: 3, user: "ada", before: "view", after: "deploy" }), aRightsChange(), ...many];
    server.json("POST /access/preview", { changes, total: 7 });
    press("Preview changes");
    await flushPromises();
    const [losses, gains] = dialog()?.querySelectorAll("[data-effect]") ?? [];
    expect(losses?.textContent).toContain("After this change, 2 people lose permissions");
    expect(losses?.textContent).toContain("lena: shop – manage → view");
    expect(losses?.querySelector("summary")?.textContent).toContain("jonas: 5 changes");
    expect(gains?.textContent).toContain("ada: shop – view → deploy");
    server.json("POST /access/", { detail: "Grant 1 not found" }, 404);
    press("Apply changes", dialog() ?? undefined);
    await flushPromises();
    expect(dialog()?.querySelector("[role=alert]")?.textContent).toContain("Grant 1 not found");
    server.json("POST /access/", someAccess());
    press("Apply changes", dialog() ?? undefined);
    await flushPromises();
    expect(dialog()).toBeNull();
    expect(wrapper.text()).not.toContain("not applied yet");
  });

  it("warns that tags can be changed in files", async () => {
    await signInWith({ is_admin: true });
    const { wrapper } = await mountInApp(AccessView);
    expect(wrapper.text()).not.toContain("can change its tags");
    await wrapper.findAll("form select")[2]?.setValue("tag");
    expect(wrapper.text()).toContain("anyone who can edit a service's config.json can change its tags");
  });

  it("keeps what was entered if a group is refused", async () => {
    await signInWith({ is_admin: true });
    await mountInApp(AccessView);
    press("New group");
    await flushPromises();
    const field = dialog()?.querySelector("input");
    if (field) field.value = "Team";
    field?.dispatchEvent(new Event("input"));
    server.json("POST /groups/", { detail: "A group named team already exists." }, 409);
    dialog()?.querySelector("form")?.dispatchEvent(new Event("submit", { cancelable: true }));
    await flushPromises();
    expect(dialog()?.textContent).toContain("A group named team already exists.");
    expect(dialog()?.querySelector("input")?.value).toBe("Team");
  });

  it("draws the members of a group once it is opened", async () => {
    await signInWith({ is_admin: true });
    const { wrapper } = await mountInApp(AccessView);
    expect(wrapper.find("[data-member]").exists()).toBe(false);
    await wrapper.get("[data-group=team] details").trigger("toggle");
    expect(wrapper.get("[data-member]").text()).toContain("lena");
    expect(wrapper.findAll("[data-group=team] option").map(option => option.text())).toEqual(["Choose a user…", "jonas"]);
    await wrapper.get("[aria-label='Remove lena from the group']").trigger("click");
    expect(wrapper.get("[data-member=removed]").text()).toContain("lena");
    expect(wrapper.text()).toContain("1 change, not applied yet");
  });

  it("draws only part of a long table", async () => {
    await signInWith({ is_admin: true });
    const grants = Array.from({ length: 1000 }, (_, id) => aGrant({ id: id + 1, service_id: id + 1 }));
    server.json("GET /access/", someAccess({ grants }));
    const { wrapper } = await mountInApp(AccessView);
    expect(wrapper.findAll("[data-grant]")).toHaveLength(50);
    press("Show more (950)");
    await flushPromises();
    expect(wrapper.findAll("[data-grant]")).toHaveLength(100);
  });
});

describe("the explanation of rights", () => {
  const byTag = { group: null, tag: "web", environment: "staging", all_services: false };
  const reasons = [aReason(), aReason({ grant_id: 2, permission: "view", ...byTag })];
  const services = [rightsOn(1, "manage", { reasons })];

  it("says why, in words", async () => {
    await signInWith({ is_admin: true });
    server.json("GET /users/2/rights", someRights({ user_id: 2, user: "jonas", services }));
    const { wrapper } = await mountInApp(UserAccessView, { at: "/user-access/2" });
    expect(wrapper.get("h1").text()).toBe("Access of jonas");
    expect(wrapper.text()).toContain("manage, through the group everyone, on all services");
    expect(wrapper.text()).toContain("view, given directly, on services tagged web, in the environment staging");
  });

  it.each([
    [{ is_admin: true }, "Administrator: can do everything on all services."],
    [{ is_active: false }, "This account is disabled, so it can't do anything."],
    [{ services: [] }, "jonas can't view any services"],
  ])("covers %o", async (fields, text) => {
    await signInWith({ is_admin: true });
    server.json("GET /users/2/rights", someRights({ user_id: 2, user: "jonas", ...fields }));
    const { wrapper } = await mountInApp(UserAccessView, { at: "/user-access/2" });
    expect(wrapper.text()).toContain(text);
  });

  it("is part of the profile", async () => {
    await signInWith({ services });
    const { wrapper } = await mountInApp(ProfileView);
    expect(wrapper.text()).toContain("What you can do");
    expect(wrapper.get("[data-rights=shop]").text()).toContain("through the group everyone");
  });

  it("draws only part of 1,000 services", async () => {
    await signInWith({ services: Array.from({ length: 1000 }, (_, id) => rightsOn(id + 1, "view")) });
    const { wrapper } = await mountInApp(ProfileView);
    expect(wrapper.findAll("[data-rights]")).toHaveLength(10);
    press("Show more (990)");
    await flushPromises();
    expect(wrapper.findAll("[data-rights]")).toHaveLength(60);
  });
});
