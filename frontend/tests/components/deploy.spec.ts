import { flushPromises } from "@vue/test-utils";
import { beforeEach, describe, expect, it } from "vitest";
import type { Inputs } from "@/api/types";
import ServiceView from "@/views/ServiceView.vue";
import { freshStores, mountInApp, signIn } from "../support/app";
import { aDeployment, aServiceDetail, someInputs } from "../support/data";
import { FakeServer, FakeSocket } from "../support/network";

let server: FakeServer;

const SCHEMA = {
  type: "object",
  properties: {
    version: { type: "string", title: "Version", pattern: "^v", examples: ["v1"] },
    where: { title: "Where to", enum: ["staging", "production"], default: "staging" },
    password: { type: "string", title: "Password", writeOnly: true },
  },
  required: ["version"],
  if: { properties: { where: { const: "production" } }, required: ["where"] },
  then: { properties: { ticket: { type: "string", title: "Ticket" } }, required: ["ticket"] },
};

beforeEach(async () => {
  freshStores();
  FakeSocket.install();
  document.body.replaceChildren();
  server = new FakeServer().json("GET /tokens/", []).json("GET /deployments/", []);
  server.json("GET /services/1", aServiceDetail({
    plan: [{ name: "Fetch", description: "", expected_seconds: 4 }, { name: "Install", description: "", expected_seconds: 8 }],
  }));
  server.json("GET /services/1/statistics", { deployments: [], success_rate: null, median_seconds: null });
  await signIn(server);
});

const dialog = () => document.querySelector<HTMLElement>("[role=dialog]");
const text = () => dialog()?.textContent.replace(/\s+/g, " ") ?? "";
const field = (name: string) => dialog()?.querySelector<HTMLElement>(`[data-field=${name}]`);

async function press(name: string): Promise<void> {
  const buttons = [...document.querySelectorAll<HTMLElement>("[role=dialog] button, header button")];
  const button = buttons.find(element => (element.getAttribute("aria-label") ?? element.textContent.trim()) === name);
  if (!button) throw new Error(`There is no button “${name}”`);
  button.click();
  await flushPromises();
}

async function enter(name: string, value: string): Promise<void> {
  const control = field(name)?.querySelector<HTMLInputElement>("input, select, textarea");
  if (!control) throw new Error(`There is no field “${name}”`);
  control.value = value;
  control.dispatchEvent(new Event("input", { bubbles: true }));
  await flushPromises();
}

async function choose(name: string, at: number): Promise<void> {
  field(name)?.querySelectorAll<HTMLInputElement>("input")[at]?.click();
  await flushPromises();
}

async function open(inputs: Partial<Inputs> = {}) {
  server.json("GET /services/1/inputs", someInputs(inputs));
  const page = await mountInApp(ServiceView, { at: "/service/1" });
  await press("Deploy");
  // The validator is loaded when it is needed.
  await expect.poll(() => dialog()?.querySelector("dl, [data-field]"), { timeout: 15_000 }).toBeTruthy();
  return page;
}

const sent = () => server.called("POST /services/1/deployments").map(({ body }) => body);

describe("deploying a service without inputs", () => {
  it("shows a summary and starts with one click", async () => {
    server.json("POST /services/1/deployments", aDeployment({ id: 31 }));
    const { router } = await open({
      summary: { kind: "playbook", file: "site.yml", hosts: ["web1", "web2"], runs_as: "deploy", ahead: 0 },
    });
    for (const part of ["Ansible playbook site.yml", "web1", "web2", "deploy", "Fetch → Install", "Usually takes 12 s", "Immediately"]) {
      expect(text()).toContain(part);
    }
    await press("Deploy now");
    expect(router.currentRoute.value.params.id).toBe("31");
    expect(sent()).toEqual([{ env: {}, origin: "frontend" }]);
  });

  it("shows the deployments ahead", async () => {
    await open({ summary: { ...someInputs().summary, ahead: 2 } });
    expect(text()).toContain("2 deployments of shop are ahead.");
  });

  it("reuses the previous values", async () => {
    server.json("POST /services/1/deployments", aDeployment({ id: 31 }));
    await open({ last: { BRANCH: "next", COUNT: 3 } });
    await press("Reuse previous values");
    await press("Deploy now");
    expect(sent()).toEqual([{ env: { BRANCH: "next", COUNT: "3" }, origin: "frontend" }]);
  });

  it("does not change large integers silently", async () => {
    await open({ last: { BRANCH: "next", BUILD: 2 ** 60 } });
    await press("Reuse previous values");
    expect(text()).toContain("Too large for the browser and left out: BUILD.");
  });

  it("asks for its name if the service requires confirmation", async () => {
    server.json("POST /services/1/deployments", aDeployment({ id: 31 }));
    await open({ confirm: true });
    await press("Deploy now");
    expect(sent()).toEqual([]);
    const name = dialog()?.querySelector<HTMLInputElement>("input[data-first]");
    if (!name) throw new Error("It does not ask");
    name.value = "shop";
    name.dispatchEvent(new Event("input"));
    await flushPromises();
    await press("Deploy now");
    expect(sent()).toEqual([{ env: {}, origin: "frontend", confirm: "shop" }]);
  });

  it("shows why the inputs cannot be loaded, and retries", async () => {
    server.json("GET /services/1/inputs", {}, 503);
    await mountInApp(ServiceView, { at: "/service/1" });
    await press("Deploy");
    expect(text()).toContain("The database is temporarily unavailable.");
    server.json("GET /services/1/inputs", someInputs());
    await press("Try again");
    expect(text()).toContain("Script deploy.sh");
  });
});

describe("deploying a service with inputs", () => {
  it("reports a missing value at its field and focuses it", async () => {
    await open({ schema: SCHEMA });
    expect(text()).not.toContain("has to be filled in.");
    await press("Continue");
    expect(field("version")?.textContent).toContain("This field is required.");
    await expect.poll(() => document.activeElement).toBe(field("version")?.querySelector("input"));
  });

  it("shows conditional fields and sends only visible ones", async () => {
    server.json("POST /services/1/deployments", aDeployment({ id: 31 }));
    await open({ schema: SCHEMA });
    await enter("version", "v2");
    expect(field("ticket")).toBeNull();
    await choose("where", 1);
    await enter("ticket", "T-1");
    await choose("where", 0);
    await press("Continue");
    expect(text()).toContain("Version: v2");
    expect(text()).toContain("Where to: staging (default)");
    await press("Deploy now");
    expect(sent()).toEqual([{ env: { version: "v2", where: "staging" }, origin: "frontend" }]);
  });

  it("shows server errors at their field until it is changed", async () => {
    server.json("POST /services/1/deployments", {
      detail: [{ loc: ["body", "env", "version"], msg: "Version: there is no such release", type: "input" }],
    }, 422);
    await open({ schema: SCHEMA });
    await enter("version", "v404");
    await press("Continue");
    await press("Deploy now");
    expect(field("version")?.textContent).toContain("There is no such release");
    await enter("version", "v2");
    expect(field("version")?.textContent).not.toContain("no such release");
  });

  it("shows errors that belong to no field", async () => {
    server.json("POST /services/1/deployments", {
      detail: [{ loc: ["body", "env"], msg: "This combination of values is not allowed", type: "input" }],
    }, 422);
    await open({ schema: SCHEMA });
    await enter("version", "v2");
    await press("Continue");
    await press("Deploy now");
    expect(text()).toContain("This combination of values is not allowed");
  });

  it("never shows a secret in the summary", async () => {
    await open({ schema: SCHEMA });
    await enter("version", "v2");
    await enter("password", "hunter2");
    await press("Continue");
    expect(text()).toContain("Password: provided, hidden");
    expect(text()).not.toContain("hunter2");
  });

  it("keeps entered values when closed and clears them after sending", async () => {
    server.json("POST /services/1/deployments", aDeployment({ id: 31 }));
    await open({ schema: SCHEMA });
    await enter("version", "v2");
    await press("Close");
    await press("Deploy");
    expect(field("version")?.querySelector("input")?.value).toBe("v2");
    await press("Continue");
    await press("Deploy now");
    await press("Deploy");
    expect(field("version")?.querySelector("input")?.value).toBe("");
  });

  it("resends the same key, but uses a new one for other values", async () => {
    server.on("POST /services/1/deployments", () => "unreachable");
    await open({ schema: SCHEMA });
    await enter("version", "v2");
    await press("Continue");
    await press("Deploy now");
    await press("Deploy now");
    await press("Back");
    await enter("version", "v3");
    await press("Continue");
    await press("Deploy now");
    const keys = server.called("POST /services/1/deployments").map(({ headers }) => headers.get("Idempotency-Key"));
    expect(keys[1]).toBe(keys[0]);
    expect(keys[2]).not.toBe(keys[0]);
  });

  it("shows which choices could not be loaded", async () => {
    await open({ schema: SCHEMA, problems: [{ path: "version", detail: "The program ended with exit code 3." }] });
    expect(text()).toContain("Version: The program ended with exit code 3.");
  });
});
