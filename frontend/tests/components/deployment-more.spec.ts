import { flushPromises, type VueWrapper } from "@vue/test-utils";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { DeploymentDetail } from "@/api/types";
import { useDraftsStore } from "@/stores/drafts";
import { usePushStore } from "@/stores/push";
import DeploymentView from "@/views/DeploymentView.vue";
import { freshStores, mountInApp, signIn } from "../support/app";
import { aDeployment, aDetail, aService, aStep } from "../support/data";
import { FakeServer, FakeSocket } from "../support/network";

const AT = "2026-01-01T10:00:00Z";
const frame = () => new Promise(resolve => requestAnimationFrame(resolve));
const ago = (seconds: number) => new Date(Date.now() - seconds * 1000).toISOString();

let server: FakeServer;
let stored: string[];

beforeEach(async () => {
  vi.spyOn(Element.prototype, "clientHeight", "get").mockReturnValue(600);
  vi.spyOn(Element.prototype, "clientWidth", "get").mockReturnValue(800);
  freshStores();
  FakeSocket.install();
  document.body.replaceChildren();
  document.head.innerHTML = "<link rel=icon href=/ui/favicon.svg>";
  stored = [];
  server = new FakeServer().on("GET /deployments/5/output", () => ({
    json: {
      lines: stored.map((text, index) => ({ n: index + 1, at: AT, text, step_id: index < 2 ? 1 : 2 })),
      total: 0,
      next_after: null,
    },
  }));
  await signIn(server);
  usePushStore().start();
  FakeSocket.last.welcome();
  return () => usePushStore().stop();
});

async function settle(): Promise<void> {
  await flushPromises();
  await frame();
  await flushPromises();
}

async function open(fields: Partial<DeploymentDetail> = {}, at = "/deployment/5") {
  server.json("GET /deployments/5", aDetail({ lines: stored.length, ...fields }));
  const { wrapper, router } = await mountInApp(DeploymentView, { at });
  await settle();
  return { page: wrapper, router };
}

async function press(page: VueWrapper, text: string): Promise<void> {
  await page.findAll("button").find(button => button.text() === text)?.trigger("click");
  await settle();
}

const dialog = () => document.querySelector<HTMLElement>("[role=dialog]");
const failed = { state: "failure", finished: AT, started: AT } as const;

describe("the usual duration of a step", () => {
  it("is a number before they run, a bar while they run, and nothing if unknown", async () => {
    const { page } = await open({
      steps: [
        aStep({ id: 1, name: "Build", state: "running", started: ago(10), expected_seconds: 20 }),
        aStep({ id: 2, name: "Copy", position: 2, expected_seconds: 30 }),
        aStep({ id: 3, name: "Check", position: 3 }),
      ],
    });
    const [build, copy, check] = page.findAll("[data-step]");
    expect(Number(build?.get("[role=progressbar]").attributes("aria-valuenow"))).toBeGreaterThanOrEqual(50);
    expect(build?.text()).toContain("usually 20 s");
    expect(copy?.text()).toContain("about 30 s");
    expect(check?.text()).not.toContain("about");
    expect(check?.find("[role=progressbar]").exists()).toBe(false);
  });

  it("is shown when the step takes longer", async () => {
    const { page } = await open({
      expected_seconds: 4, started: ago(60),
      steps: [aStep({ state: "running", started: ago(60), expected_seconds: 4 })],
    });
    expect(page.get("[data-step]").text()).toContain("Longer than usual");
    expect(page.get("[data-outcome]").text()).toContain("Taking longer than usual");
  });

  it("is in the title and in the tab icon", async () => {
    const { page } = await open({ expected_seconds: 100, started: ago(50) });
    expect(document.title).toMatch(/^Running 5\d %: shop #5/);
    const icon = document.querySelector<HTMLLinkElement>("link[rel=icon]");
    expect(icon?.href).toMatch(/^data:image\/svg/);
    page.unmount();
    expect(icon?.href).toContain("/ui/favicon.svg");
  });
});

describe("links", () => {
  it("mark a range of lines and are created by clicks", async () => {
    stored = ["one", "two", "three", "four"];
    const { page, router } = await open({ state: "success", finished: AT }, "/deployment/5#L2-L3");
    const marked = () => page.findAll(".log-line-now .number").map(number => number.text());
    expect(marked()).toEqual(["2", "3"]);
    await page.get("[data-line='1']").trigger("click");
    await settle();
    expect(router.currentRoute.value.hash).toBe("#L1");
    await page.get("[data-line='4']").trigger("click", { shiftKey: true });
    await settle();
    expect(router.currentRoute.value.hash).toBe("#L1-L4");
    expect(marked()).toEqual(["1", "2", "3", "4"]);
    expect(page.text()).toContain("Lines 1–4");
  });

  it("to a step open the step and mark its lines", async () => {
    stored = ["one", "two", "three"];
    const steps = [
      aStep({ id: 1, name: "Build", state: "success", first_line: 1, last_line: 2, started: AT, finished: AT }),
      aStep({ id: 2, name: "Copy", position: 2, state: "success", first_line: 3, last_line: 3, started: AT, finished: AT }),
    ];
    const { page, router } = await open({ state: "success", finished: AT, steps }, "/deployment/5#step-1");
    expect(page.get("[data-step=Build] button").attributes("aria-expanded")).toBe("true");
    expect(page.get("[data-step=Copy] button").attributes("aria-expanded")).toBe("false");
    expect(page.findAll(".log-line-step .text").map(line => line.text())).toEqual(["one", "two"]);
    await page.get("[data-step=Copy] button").trigger("click");
    await page.findAll("[data-step=Copy] button").find(button => button.text() === "Show in log")?.trigger("click");
    await settle();
    expect(router.currentRoute.value.hash).toBe("#step-2");
    expect(page.findAll(".log-line-step .text").map(line => line.text())).toEqual(["three"]);
  });
});

describe("a failed deployment", () => {
  it("shows the changes since the last success", async () => {
    server.json("GET /deployments/5/changes", {
      since: aDeployment({ id: 3, user: "sam", state: "success" }),
      env: [{ name: "replicas", kind: "changed", before: 2, after: 5 }], config: [],
      files: [{ name: "deploy.sh", kind: "added", before: null, after: null }],
      unknown: [],
    });
    const { page } = await open(failed);
    const text = page.get("[data-changes]").text();
    expect(text).toContain("#3");
    expect(text).toContain("by sam");
    expect(page.get("[data-changes] del").text()).toBe("2");
    expect(page.get("[data-changes] ins").text()).toBe("5");
    expect(text).toContain("deploy.sh");
    expect(text).not.toContain("Config");
  });

  it("does not mention changes that cannot be compared", async () => {
    server.json("GET /deployments/5/changes", { since: aDeployment({ id: 3 }), env: [], config: [], files: [], unknown: ["files"] });
    const text = (await open(failed)).page.get("[data-changes]").text();
    expect(text).toContain("can't be compared");
    expect(text).not.toContain("the same files");
  });

  it("shows that nothing changed or that there was no earlier success", async () => {
    server.json("GET /deployments/5/changes", { since: aDeployment({ id: 3 }), env: [], config: [], files: [], unknown: [] });
    const { page } = await open(failed);
    expect(page.get("[data-changes]").text()).toContain("No changes: the values");
    page.unmount();
    server.json("GET /deployments/5/changes", { since: null, env: [], config: [], files: [], unknown: [] });
    expect((await open(failed)).page.get("[data-changes]").text()).toContain("There is no earlier successful deployment");
  });
});

describe("a retry", () => {
  beforeEach(() => {
    server.json("GET /deployments/5/changes", { since: null, env: [], config: [], files: [], unknown: [] });
  });

  const type = async (label: string, text: string) => {
    const field = [...dialog()?.querySelectorAll("label") ?? []].find(found => found.textContent.includes(label));
    const input = document.getElementById(field?.htmlFor ?? "") as HTMLInputElement;
    input.value = text;
    input.dispatchEvent(new Event("input"));
    await settle();
    return input;
  };
  const submit = async () => {
    dialog()?.querySelector("form")?.dispatchEvent(new Event("submit", { cancelable: true }));
    await settle();
  };

  it("asks for the secrets again by their titles", async () => {
    const inputs = { properties: { key: { title: "Access key", writeOnly: true } } };
    server.json("GET /services/1", { ...aService({ data: { inputs } }), readme: null, plan: [] });
    server.json("POST /deployments/5/retry", aDeployment({ id: 6, state: "queued" }));
    const { page, router } = await open({ ...failed, secret_inputs: ["key"] });
    await press(page, "Retry");
    expect(server.called("POST /deployments/5/retry")).toHaveLength(0);
    expect((await type("Access key", "s3cret")).type).toBe("password");
    await submit();
    const [sent] = server.called("POST /deployments/5/retry");
    expect(sent?.body).toEqual({ env: { key: "s3cret" } });
    expect(sent?.headers.get("Idempotency-Key")).toMatch(/^[0-9a-f-]{36}$/);
    expect(router.currentRoute.value.path).toBe("/deployment/6");
  });

  it("leads to the form with the same values to change them", async () => {
    server.json("GET /services/1", { ...aService({ data: { inputs: { properties: { branch: {} } } } }), readme: null, plan: [] });
    const { page, router } = await open({ ...failed, context: { env: { branch: "next" } } });
    await press(page, "Retry");
    [...dialog()?.querySelectorAll("button") ?? []].find(button => button.textContent.trim() === "Change values")?.click();
    await settle();
    expect(router.currentRoute.value.fullPath).toBe("/service/1#deploy");
    expect(useDraftsStore().of(1).values).toEqual({ branch: "next" });
    expect(server.called("POST /deployments/5/retry")).toHaveLength(0);
  });

  it("asks for the service's name if required", async () => {
    server.json("POST /deployments/5/retry", { detail: [{ loc: ["body", "confirm"], msg: "Type shop.", type: "input" }] }, 422);
    const { page } = await open(failed);
    await press(page, "Retry");
    await submit();
    expect(dialog()?.textContent).toContain("Type shop to confirm");
    const button = () => dialog()?.querySelector<HTMLButtonElement>("button[type=submit]");
    expect(button()?.disabled).toBe(true);
    await type("Type shop", "shop");
    expect(button()?.disabled).toBe(false);
    server.json("POST /deployments/5/retry", aDeployment({ id: 6, state: "queued" }));
    await submit();
    expect(server.called("POST /deployments/5/retry").at(-1)?.body).toEqual({ env: {}, confirm: "shop" });
  });
});

describe("cancelling", () => {
  it("is shown immediately, and reset if the request fails", async () => {
    const { page } = await open();
    server.json("POST /deployments/5/cancel", {}, 503);
    await page.findAll("button").find(button => button.text() === "Cancel deployment")?.trigger("click");
    await settle();
    const confirm = [...document.querySelectorAll<HTMLElement>("[role=alertdialog] button")].find(found => found.textContent.trim() === "Yes, cancel it");
    confirm?.click();
    await Promise.resolve();
    await Promise.resolve();
    expect(page.text()).toContain("Cancelling…");
    await settle();
    expect(page.text()).toContain("Cancel deployment");
  });
});
