import { flushPromises } from "@vue/test-utils";
import { beforeEach, describe, expect, it } from "vitest";
import { usePushStore } from "@/stores/push";
import { useShortcutsStore } from "@/stores/shortcuts";
import type { Rights } from "@/api/types";
import DeploymentView from "@/views/DeploymentView.vue";
import ServicesView from "@/views/ServicesView.vue";
import ServiceView from "@/views/ServiceView.vue";
import TokensView from "@/views/TokensView.vue";
import { freshStores, mountInApp, signIn } from "../support/app";
import { aDetail, aService, aServiceDetail, aToken, aUser, rightsOn, someRights } from "../support/data";
import { FakeServer, FakeSocket } from "../support/network";

let server: FakeServer;

beforeEach(() => {
  freshStores();
  FakeSocket.install();
  document.body.replaceChildren();
  const detail = aServiceDetail();
  const ended = aDetail({ state: "failure", finished: "2026-01-01T10:00:05Z" });
  server = new FakeServer()
    .json("GET /services/problems", []).json("GET /tokens/", []).json("GET /sessions/", [])
    .json("GET /services/", [aService(), aService({ id: 2, name: "wiki" })])
    .json("GET /services/1", detail).json("GET /deployments/", []).json("GET /deployments/5", ended)
    .json("GET /services/1/statistics", { deployments: [], success_rate: null, median_seconds: null })
    .json("GET /deployments/5/changes", { since: null, changes: [] })
    .json("GET /deployments/5/output", { lines: [], first: 1, total: 0 });
  return () => usePushStore().stop();
});

const dialog = () => document.querySelector<HTMLElement>("[role=dialog]");
const buttons = () => [...document.querySelectorAll("button")].map(button => button.textContent.trim());

function press(text: string, within: ParentNode = document.body): void {
  const button = [...within.querySelectorAll<HTMLElement>("button")].find(element => element.textContent.trim() === text);
  if (!button) throw new Error(`There is no button “${text}”`);
  button.click();
}

const signInWith = (fields: Partial<Rights>) => signIn(server, aUser(), someRights(fields));
const viewing = { can_sync: false, services: [rightsOn(1, "view"), rightsOn(2, "view")] };

describe("the page offers only what the user may do", () => {
  it("deploys single services, and syncs only with that permission", async () => {
    await signInWith({ can_sync: false, services: [rightsOn(1, "deploy"), rightsOn(2, "view")] });
    const { wrapper } = await mountInApp(ServicesView);
    expect(wrapper.find("[aria-label='Deploy shop']").exists()).toBe(true);
    expect(wrapper.find("[aria-label='Deploy wiki']").exists()).toBe(false);
    expect(buttons()).not.toContain("Reload services");
    expect(wrapper.text()).not.toContain("You can view these services");
  });

  it("says whom to ask if no service can be deployed", async () => {
    await signInWith(viewing);
    const { wrapper } = await mountInApp(ServicesView);
    expect(wrapper.text()).toContain("You can view these services, but not deploy them. Ask an administrator");
  });

  it("says what to do if there are no services to see", async () => {
    await signInWith({ can_sync: false, services: [] });
    server.json("GET /services/", []);
    const { wrapper } = await mountInApp(ServicesView);
    expect(wrapper.text()).toContain("You don't have access to any services yet");
    expect(wrapper.text()).toContain("Your username is lena.");
    expect(wrapper.find("pre").exists()).toBe(false);
  });

  it("has neither a button nor a shortcut to deploy a service that can only be viewed", async () => {
    await signInWith(viewing);
    const { wrapper } = await mountInApp(ServiceView, { at: "/service/1#deploy" });
    expect(wrapper.text()).toContain("You can view this service, but not deploy it. Ask an administrator.");
    expect(buttons()).not.toContain("Deploy");
    expect(useShortcutsStore().page).toEqual([]);
    expect(dialog()).toBeNull();
  });

  it("gets the button and the shortcut as soon as the user may deploy", async () => {
    await signInWith(viewing);
    usePushStore().start();
    FakeSocket.last.welcome();
    await mountInApp(ServiceView, { at: "/service/1#deploy" });
    server.json("GET /users/me/rights", someRights({ services: [rightsOn(1, "deploy")] }));
    FakeSocket.last.say({ type: "rights" });
    await flushPromises();
    expect(buttons()).toContain("Deploy");
    expect(dialog()).toBeNull();
    expect(useShortcutsStore().page.map(({ keys }) => keys)).toEqual(["d"]);
  });

  it("creates tokens of a service only with manage", async () => {
    await signInWith({ services: [rightsOn(1, "deploy"), rightsOn(2, "manage")] });
    const { wrapper } = await mountInApp(ServiceView, { at: "/service/1" });
    expect(buttons()).not.toContain("New token");
    expect(wrapper.text()).toContain("you need the permission to manage a service");
    await mountInApp(TokensView);
    press("New token");
    await flushPromises();
    expect([...dialog()?.querySelectorAll("option") ?? []].map(({ textContent }) => textContent)).toEqual(["wiki"]);
  });

  it("revokes only tokens that the user may revoke", async () => {
    await signInWith(viewing);
    server.json("GET /tokens/", [aToken({ id: "own", user: "lena" }), aToken({ id: "other", user: "jonas" })]);
    const { wrapper } = await mountInApp(TokensView);
    expect(wrapper.get("[data-token=own]").text()).toContain("Revoke");
    expect(wrapper.get("[data-token=other]").text()).not.toContain("Revoke");
  });

  it.each([
    ["failure", "You can view this deployment, but not deploy it again.", "Retry"],
    ["running", "You can view this deployment, but not cancel it.", "Cancel deployment"],
  ] as const)("explains a deployment that can only be viewed: %s", async (state, text, button) => {
    await signInWith(viewing);
    server.json("GET /deployments/5", aDetail({ state }));
    const { wrapper } = await mountInApp(DeploymentView, { at: "/deployment/5" });
    expect(wrapper.text()).toContain(text);
    expect(buttons()).not.toContain(button);
  });

  it("considers the environment of a deployment", async () => {
    await signInWith({ services: [rightsOn(1, "view", { environments: { staging: "deploy" } })] });
    server.json("GET /deployments/5", aDetail({ state: "running", environment: "staging" }));
    await mountInApp(DeploymentView, { at: "/deployment/5" });
    expect(buttons()).toContain("Cancel deployment");
  });
});

describe("a service that disappears", () => {
  const gone = { type: "service", id: 1, name: "shop", data: {}, deleted: true };

  it("is no longer shown on its page", async () => {
    await signInWith({});
    usePushStore().start();
    FakeSocket.last.welcome();
    const { wrapper } = await mountInApp(ServiceView, { at: "/service/1" });
    FakeSocket.last.say(gone);
    await flushPromises();
    expect(wrapper.text()).toContain("This service is no longer available");
    expect(wrapper.text()).not.toContain("The shop");
  });

  it("takes its deployments along if they cannot be viewed anymore", async () => {
    await signInWith({});
    usePushStore().start();
    FakeSocket.last.welcome();
    server.json("GET /deployments/5", aDetail({ state: "running" }));
    const { wrapper } = await mountInApp(DeploymentView, { at: "/deployment/5" });
    server.json("GET /deployments/5", { detail: "Deployment not found" }, 404);
    FakeSocket.last.say(gone);
    await flushPromises();
    expect(wrapper.text()).toContain("This deployment is no longer available");
    expect(wrapper.text()).not.toContain("shop");
  });

  it("keeps its deployments if they can still be viewed", async () => {
    await signInWith({});
    usePushStore().start();
    FakeSocket.last.welcome();
    const { wrapper } = await mountInApp(DeploymentView, { at: "/deployment/5" });
    FakeSocket.last.say(gone);
    await flushPromises();
    expect(wrapper.get("h1").text()).toContain("shop");
  });
});
