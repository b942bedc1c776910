import { flushPromises } from "@vue/test-utils";
import { beforeEach, describe, expect, it } from "vitest";
import { useNoticesStore } from "@/stores/notices";
import { usePushStore } from "@/stores/push";
import { useSessionStore } from "@/stores/session";
import ServicesView from "@/views/ServicesView.vue";
import SignInView from "@/views/SignInView.vue";
import TokensView from "@/views/TokensView.vue";
import UsersView from "@/views/UsersView.vue";
import { freshStores, mountInApp, signIn } from "../support/app";
import { aDeployment, aDetail, aService, aServiceDetail, aStep, aToken, aUser, someInputs } from "../support/data";
import { FakeServer, FakeSocket } from "../support/network";

let server: FakeServer;

beforeEach(() => {
  freshStores();
  FakeSocket.install();
  document.body.replaceChildren();
  server = new FakeServer().json("GET /services/problems", []).json("GET /tokens/", []);
});

const dialog = () => document.querySelector<HTMLElement>("[role=dialog], [role=alertdialog]");

function press(text: string, within: ParentNode = document.body): void {
  const button = [...within.querySelectorAll<HTMLElement>("button, a")].find(element => element.textContent.trim() === text);
  if (!button) throw new Error(`There is no button “${text}”`);
  button.click();
}

describe("signing in", () => {
  it.each([
    ["expired", "Your session has expired or was ended."],
    ["elsewhere", "You signed out in another tab."],
  ] as const)("says why the session is over: %s", async (why, text) => {
    await signIn(server);
    useSessionStore().forget(why);
    const { wrapper } = await mountInApp(SignInView, { at: "/sign-in?next=/queue" });
    expect(wrapper.text()).toContain(text);
  });

  async function attempt(path: string) {
    const page = await mountInApp(SignInView, { at: path });
    await page.wrapper.get("input[name=username]").setValue("lena");
    await page.wrapper.get("input[name=password]").setValue("secret");
    await page.wrapper.get("form").trigger("submit");
    await flushPromises();
    return page;
  }

  it("leads to the requested page", async () => {
    server
      .json("POST /session", { access_token: "t", token_type: "bearer", expires_in: 1800 })
      .json("GET /users/me", aUser());
    const { router } = await attempt("/sign-in?next=/deployments/7");
    expect(router.currentRoute.value.fullPath).toBe("/deployments/7");
  });

  it.each(["https://evil.example/", "//evil.example", "/\\evil.example"])("never leads to another site: %s", async (next) => {
    server
      .json("POST /session", { access_token: "t", token_type: "bearer", expires_in: 1800 })
      .json("GET /users/me", aUser());
    const { router } = await attempt(`/sign-in?next=${encodeURIComponent(next)}`);
    expect(router.currentRoute.value.fullPath).toBe("/");
  });

  it.each([
    [401, { detail: "…" }, "Incorrect username or password."],
    [429, { detail: "Too many wrong passwords. Try again in 5 minutes." }, "Too many wrong passwords. Try again in 5 minutes."],
    [429, {}, "Too many attempts. Wait a minute and try again."],
    [503, { detail: "The server is busy. Try again in a few seconds." }, "The server is busy. Try again in a few seconds."],
    [503, {}, "The database is temporarily unavailable. Deployments keep running. Try again shortly."],
    [500, { detail: "…" }, "Server error (500). If it keeps happening, contact your administrator."],
  ])("says what to do after a %d", async (status, body, sentence) => {
    server.json("POST /session", body, status);
    const { wrapper } = await attempt("/sign-in");
    expect(wrapper.get("[role=alert]").text()).toBe(sentence);
  });
});

describe("the services", () => {
  beforeEach(async () => {
    await signIn(server);
    server.json("GET /services/", [
      aService({ last_deployment: aDeployment({ state: "failure", finished: "2026-01-01T10:00:00Z" }) }),
      aService({ id: 2, name: "wiki", data: { description: "Everything we know" } }),
    ]);
    server.json("GET /services/2", aServiceDetail({ id: 2, name: "wiki" })).json("GET /services/2/inputs", someInputs());
  });

  it("show the state of each", async () => {
    const { wrapper } = await mountInApp(ServicesView);
    const [shop, wiki] = wrapper.findAll("article");
    expect(shop?.text()).toContain("Failed");
    expect(shop?.text()).toContain("by lena");
    expect(wiki?.text()).toContain("Not deployed yet");
  });

  it("are found by words in their names and descriptions", async () => {
    const { wrapper } = await mountInApp(ServicesView);
    await wrapper.get("input[type=search]").setValue("KNOW wi");
    expect(wrapper.findAll("article").map(card => card.attributes("data-service"))).toEqual(["wiki"]);
    await wrapper.get("input[type=search]").setValue("nothing like it");
    expect(wrapper.text()).toContain("No service matches “nothing like it”");
  });

  it("show the progress of running deployments live", async () => {
    usePushStore().start();
    FakeSocket.last.welcome();
    const steps = [aStep({ id: 1, name: "Fetch", state: "running" }), aStep({ id: 2, name: "Build", position: 2 })];
    server.json("GET /deployments/9", aDetail({ id: 9, steps }));
    const { wrapper } = await mountInApp(ServicesView);
    const running = aDeployment({ id: 9 });
    FakeSocket.last.say({ type: "deployment", deployment_id: 9, ...running });
    await flushPromises();
    expect(wrapper.get("article").text()).toContain("Fetch");
    FakeSocket.last.say({ type: "step", seq: 7, deleted: false, ...aStep({ id: 1, deployment_id: 9, name: "Fetch", state: "success" }) });
    FakeSocket.last.say({
      type: "step", seq: 8, deleted: false, ...aStep({ id: 2, deployment_id: 9, name: "Build", state: "running", position: 2 }),
    });
    await flushPromises();
    expect(wrapper.get("article").text()).toContain("Build");
    expect(wrapper.get("[role=progressbar]").attributes("aria-valuenow")).toBe("75");
    usePushStore().stop();
  });

  it("are deployed with a button and a confirmation", async () => {
    server.json("POST /services/2/deployments", aDeployment({ id: 31, service_id: 2, state: "queued" }));
    const { wrapper, router } = await mountInApp(ServicesView);
    await wrapper.get("[aria-label='Deploy wiki']").trigger("click");
    await flushPromises();
    expect(dialog()?.textContent).toContain("Deploy wiki?");
    press("Deploy now", dialog() ?? undefined);
    await flushPromises();
    expect(router.currentRoute.value).toMatchObject({ name: "deployment", params: { id: "31" } });
    expect(server.called("POST /services/2/deployments")[0]?.body).toEqual({ env: {}, origin: "frontend" });
  });

  it("keep the same key when a deployment is resent", async () => {
    let answer: "unreachable" | { json: unknown } = "unreachable";
    server.on("POST /services/2/deployments", () => answer);
    const { wrapper } = await mountInApp(ServicesView);
    await wrapper.get("[aria-label='Deploy wiki']").trigger("click");
    await flushPromises();
    press("Deploy now", dialog() ?? undefined);
    await flushPromises();
    expect(dialog()?.textContent).toContain("Can't reach the server.");
    answer = { json: aDeployment({ id: 31 }) };
    press("Deploy now", dialog() ?? undefined);
    await flushPromises();
    const keys = server.called("POST /services/2/deployments").map(({ headers }) => headers.get("Idempotency-Key"));
    expect(keys).toHaveLength(2);
    expect(new Set(keys).size).toBe(1);
  });

  it("show administrators which folders have problems, and why", async () => {
    server.json("GET /services/problems", [
      { folder: "broken", file: "config.json", reason: "it is no JSON" }, { folder: "gone", file: "", reason: "/tmp/x is missing" },
    ]);
    expect((await mountInApp(ServicesView)).wrapper.text()).not.toContain("have problems");
    await signIn(server, aUser({ is_admin: true }));
    const { wrapper } = await mountInApp(ServicesView);
    expect(wrapper.text()).toContain("2 folders have problems");
    expect(wrapper.text()).toContain("services/broken/config.json");
    expect(wrapper.text()).toContain("It is no JSON");
    expect(wrapper.text()).toContain("/tmp/x is missing");
  });

  it("explain how to add the first service", async () => {
    server.json("GET /services/", []);
    const { wrapper } = await mountInApp(ServicesView);
    expect(wrapper.text()).toContain("No services yet");
    expect(wrapper.get("pre").text()).toContain("config.json");
  });

  it("show an error when they cannot be loaded, and retry on request", async () => {
    server.on("GET /services/", () => "unreachable");
    const { wrapper } = await mountInApp(ServicesView);
    expect(wrapper.get("[role=alert]").text()).toContain("Can't reach the server.");
    server.json("GET /services/", [aService()]);
    press("Try again");
    await flushPromises();
    expect(wrapper.findAll("article")).toHaveLength(1);
  });
});

describe("the tokens", () => {
  beforeEach(async () => {
    await signIn(server);
    server.json("GET /services/", [aService()]);
  });

  it("show the value of a new token once, with usage", async () => {
    const { wrapper } = await mountInApp(TokensView);
    press("New token");
    await flushPromises();
    const fields = dialog()?.querySelectorAll("input") ?? [];
    (fields[0] as HTMLInputElement).value = "GitHub";
    fields[0]?.dispatchEvent(new Event("input"));
    server.json("POST /service-token", { service_token: "s3cret", token_type: "bearer" }).json("GET /tokens/", [aToken()]);
    dialog()?.querySelector("form")?.dispatchEvent(new Event("submit", { cancelable: true }));
    await flushPromises();
    expect(dialog()?.querySelector("input")?.value).toBe("s3cret");
    expect(dialog()?.textContent).toContain("GitLab CI");
    press("I have copied it", dialog() ?? undefined);
    await flushPromises();
    expect(document.body.innerHTML).not.toContain("s3cret");
    expect(wrapper.findAll("[data-token]")).toHaveLength(1);
  });

  it("are revoked after confirmation", async () => {
    server.json("GET /tokens/", [aToken({ expires: "2999-01-01T00:00:00Z" })]).on("DELETE /tokens/abc", () => ({ status: 204 }));
    await mountInApp(TokensView);
    press("Revoke");
    await flushPromises();
    expect(server.called("DELETE /tokens/abc")).toHaveLength(0);
    press("Revoke token", dialog() ?? undefined);
    await flushPromises();
    expect(server.called("DELETE /tokens/abc")).toHaveLength(1);
    expect(useNoticesStore().toasts[0]?.text).toBe("The token was revoked.");
  });
});

describe("the users", () => {
  it("are for administrators only", async () => {
    await signIn(server);
    const { wrapper } = await mountInApp(UsersView);
    expect(wrapper.text()).toContain("Only administrators can see this page");
    expect(server.called("GET /users/")).toHaveLength(0);
  });

  it("are listed, with the current user marked", async () => {
    await signIn(server, aUser({ is_admin: true }));
    server.json("GET /users/", [aUser({ is_admin: true }), aUser({ id: 2, name: "jonas", is_active: false })]);
    const { wrapper } = await mountInApp(UsersView);
    expect(wrapper.get("[data-user=lena]").text()).toContain("(you)");
    expect(wrapper.get("[data-user=jonas]").text()).toContain("Disabled");
  });
});
