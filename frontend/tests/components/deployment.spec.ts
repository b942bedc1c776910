import { flushPromises, type VueWrapper } from "@vue/test-utils";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { DeploymentDetail } from "@/api/types";
import { usePushStore } from "@/stores/push";
import DeploymentView from "@/views/DeploymentView.vue";
import { freshStores, mountInApp, signIn } from "../support/app";
import { aDeployment, aDetail, aResult, aService, aStep } from "../support/data";
import { FakeServer, FakeSocket } from "../support/network";

const AT = "2026-01-01T10:00:00Z";
const frame = () => new Promise(resolve => requestAnimationFrame(resolve));

let server: FakeServer;
let stored: string[];

beforeEach(async () => {
  // jsdom has no layout, so the log is given a height of 600 pixels.
  vi.spyOn(Element.prototype, "clientHeight", "get").mockReturnValue(600);
  vi.spyOn(Element.prototype, "clientWidth", "get").mockReturnValue(800);
  freshStores();
  FakeSocket.install();
  document.body.replaceChildren();
  stored = [];
  server = new FakeServer().on("GET /deployments/5/output", () => ({
    json: {
      lines: stored.map((text, index) => ({ n: index + 1, at: AT, text, step_id: null })), total: 0, next_after: null,
    },
  }));
  await signIn(server);
  usePushStore().start();
  FakeSocket.last.welcome();
  return () => usePushStore().stop();
});

async function open(fields: Partial<DeploymentDetail> = {}, at = "/deployment/5"): Promise<VueWrapper> {
  server.json("GET /deployments/5", aDetail({ lines: stored.length, ...fields }));
  const { wrapper } = await mountInApp(DeploymentView, { at });
  await settle();
  return wrapper;
}

async function settle(): Promise<void> {
  await flushPromises();
  await frame();
  await flushPromises();
}

async function say(...messages: object[]): Promise<void> {
  for (const message of messages) FakeSocket.last.say(message);
  await settle();
}

const step = (seq: number, fields: Parameters<typeof aStep>[0], deleted = false) =>
  ({ type: "step", seq, deleted, ...aStep(fields) });
const change = (seq: number, fields: Parameters<typeof aDeployment>[0]) =>
  ({ type: "deployment", deployment_id: 5, ...aDeployment({ ...fields, seq }) });
const output = (seq: number, n: number, text: string) =>
  ({ type: "output", deployment_id: 5, seq, lines: [[n, AT, text, null]] });

const lines = (page: VueWrapper) => page.findAll(".log .log-line .text").map(line => line.text());
const states = (page: VueWrapper) => page.findAll("[data-step]").map(item => `${item.attributes("data-step")} ${item.attributes("data-state")}`);

describe("a running deployment", () => {
  it("shows past and new messages, each once", async () => {
    stored = ["one", "two"];
    const page = await open({ seq: 4, steps: [aStep({ name: "Build", state: "running" })] });
    expect(lines(page)).toEqual(["one", "two"]);
    expect(FakeSocket.last.sent.at(-1)).toEqual({ subscribe: { deployment_id: 5, after: 4 } });
    await say(output(4, 2, "two"), output(5, 3, "three"), output(5, 3, "three"), step(6, { name: "Build", state: "success" }));
    expect(lines(page)).toEqual(["one", "two", "three"]);
    expect(states(page)).toEqual(["Build success"]);
  });

  it("shows the current step", async () => {
    const page = await open({
      steps: [aStep({ id: 1, state: "success" }), aStep({ id: 2, name: "Switch over", position: 2, state: "running" }), aStep({ id: 3, position: 3 })],
    });
    expect(page.get("[data-outcome]").text()).toContain("Switch over");
    expect(page.get("[data-outcome]").text()).toContain("Step 2 of 3");
  });

  it("is cancelled only after confirmation", async () => {
    server.json("POST /deployments/5/cancel", aDeployment({ seq: 9, cancel_requested: "Cancelled by lena" }));
    const page = await open();
    const button = page.findAll("button").find(found => found.text() === "Cancel deployment");
    await button?.trigger("click");
    await settle();
    expect(server.called("POST /deployments/5/cancel")).toHaveLength(0);
    const confirm = [...document.querySelectorAll<HTMLElement>("[role=alertdialog] button")].find(found => found.textContent.trim() === "Yes, cancel it");
    confirm?.click();
    await settle();
    expect(server.called("POST /deployments/5/cancel")).toHaveLength(1);
    expect(page.text()).toContain("Cancelling…");
  });

  it("announces the outcome to screen readers and in the title", async () => {
    const page = await open({ seq: 1 });
    await say(change(2, { state: "success", finished: "2026-01-01T10:00:09Z" }));
    expect(document.title).toBe("Succeeded: shop #5 – fastDeploy");
    expect(page.get("[data-outcome]").text()).toContain("Deployed successfully");
    expect(page.text()).toContain("Deploy again");
  });
});

describe("a waiting deployment", () => {
  it("shows the reason, the position, and a link to the blocking deployment", async () => {
    const page = await open({
      state: "queued", started: null, waiting: { reason: "Deployment 4 of shop is running.", position: 2, blocked_by: 4 },
    });
    const text = page.get("[data-outcome]").text();
    expect(text).toContain("Waiting to start");
    expect(text).toContain("Deployment 4 of shop is running.");
    expect(text).toContain("2 deployments are ahead");
    expect(page.get("[data-outcome] a").attributes("href")).toBe("/deployment/4");
  });
});

describe("a failed deployment", () => {
  const failed = aStep({
    id: 2, name: "Install", state: "failure", message: "No space left", position: 2, first_line: 2, last_line: 3, started: AT, finished: AT,
    host_counts: { ok: 1, failed: 1 },
  });
  const results = [
    aResult({ step_id: 2, host: "web2", outcome: "failed", duration: 0.2, message: "disk full", has_more: true, lines: [[3, 3]] }),
    aResult({ step_id: 2, host: "web1", duration: 0.4 }),
  ];

  beforeEach(() => {
    server.json("GET /deployments/5/hosts", { results, next_after: null });
    server.json("GET /deployments/5/hosts/result", { ...results[0], has_more: false, diff: "--- a\n+++ b\n+new" });
  });

  it("shows the error, the step, and the log around the failure first", async () => {
    stored = ["fine", "copying", "cannot write"];
    const alone = { ...failed, host_counts: {} };
    const page = await open({ state: "failure", reason: "The step “Install” failed: No space left", finished: AT, steps: [alone] });
    const text = page.get("[data-outcome]").text();
    expect(text).toContain("Failed at “Install”");
    expect(text).toContain("cannot write");
    expect(text.match(/No space left/g)).toHaveLength(1);
  });

  it("shows which hosts failed, and the lines of the failed host only", async () => {
    stored = ["fine", "copying", "cannot write", "line of web1"];
    server.json("GET /deployments/5/hosts", { results: results.slice(0, 1), next_after: null });
    const page = await open({ state: "failure", reason: "1 of 2 hosts failed: web2 failed (Install)", finished: AT, steps: [failed] });
    const outcome = page.get("[data-outcome]");
    expect(outcome.text()).toContain("1 of 2 hosts failed: web2 failed (Install)");
    expect(outcome.text()).toMatch(/Affected hosts:\s*web2/);
    expect(outcome.findAll(".log-line .text").map(line => line.text())).toEqual(["cannot write"]);
  });

  it("opens its failed step with the results of each host", async () => {
    const page = await open({ state: "failure", finished: AT, steps: [failed] });
    const item = page.get("[data-step=Install]");
    expect(item.get("button").attributes("aria-expanded")).toBe("true");
    expect(item.text()).toContain("web2");
    expect(item.text()).toContain("disk full");
    expect(item.text()).toContain("1 failed · 1 unchanged");
    expect(item.text()).not.toContain("+new");
    await item.get("[aria-label='Details of web2']").trigger("click");
    await settle();
    expect(item.text()).toContain("+new");
  });

  it("folds equal results and adds results that arrive later", async () => {
    const many = Array.from({ length: 198 }, (_, n) => aResult({ step_id: 2, host: `web${n + 3}`, outcome: "changed" }));
    server.json("GET /deployments/5/hosts", { results: [results[0], ...many], next_after: null });
    const page = await open({ seq: 1, state: "running", steps: [{ ...failed, state: "running", host_counts: { failed: 1, changed: 198 } }] });
    const item = page.get("[data-step=Install]");
    expect(item.findAll("ul > li").map(row => row.text())).toEqual([expect.stringContaining("web2"), expect.stringMatching(/198 hosts:\s+Changed/)]);
    await say({ type: "host", deployment_id: 5, seq: 2, ...aResult({ step_id: 2, host: "web1", outcome: "unreachable", message: "no route" }) });
    expect(item.get("ul > li").text()).toContain("no route");
  });

  it("shows the recap of all hosts, which can be filtered", async () => {
    const counts = { ok: 3, changed: 1, failed: 0, unreachable: 0, skipped: 0, rescued: 0, ignored: 0 };
    server.json("GET /deployments/5/recap", { hosts: [{ ...counts, host: "web2", failed: 1 }, { ...counts, host: "web1" }], next_after: null });
    const page = await open({ state: "failure", finished: AT, steps: [failed], hosts: { total: 2, ok: 0, changed: 1, failed: 1, unreachable: 0 } });
    const recap = page.get("section[aria-label=Hosts]");
    expect(recap.text()).toContain("Recap of 2 hosts");
    expect(recap.text()).toContain("1 failed · 1 changed");
    await recap.get("button").trigger("click");
    await settle();
    expect(recap.findAll("[data-host]").map(row => row.attributes("data-host"))).toEqual(["web2", "web1"]);
    await recap.get("input").setValue("web2");
    await vi.waitFor(() => expect(server.called("GET /deployments/5/recap")).toHaveLength(2));
  });

  it("keeps steps closed after the user closed them", async () => {
    const page = await open({ seq: 1, steps: [failed] });
    await page.get("[data-step=Install] button").trigger("click");
    await say(step(2, { ...failed, message: "No space left at all" }));
    expect(page.get("[data-step=Install] button").attributes("aria-expanded")).toBe("false");
  });

  it("shows the step that a cancel interrupted as cancelled", async () => {
    const reason = "Cancelled by lena.";
    const page = await open({ state: "cancelled", finished: AT, reason, steps: [{ ...failed, host_counts: {}, message: reason }] });
    expect(page.get("[data-step=Install]").text()).toContain("Cancelled");
    expect(page.get("[data-step=Install]").text()).not.toContain("Failed");
  });

  it("shows values by their titles", async () => {
    const inputs = { properties: { target: { title: "Target", oneOf: [{ const: "prod", title: "Production" }] } } };
    server.json("GET /services/1", { ...aService({ data: { inputs } }), readme: null, plan: [] });
    const page = await open({ context: { env: { target: "prod", OTHER: "1" } } });
    expect(page.findAll("[data-value]").map(value => value.text())).toEqual(["Target: Production", "OTHER: 1"]);
  });

  it("can be stopped if it reported success but its processes do not end", async () => {
    const page = await open({ state: "success", finished: AT, run_ended: null });
    expect(page.text()).toContain("Stop its processes");
    await say(change(2, { state: "success", finished: AT, run_ended: AT }));
    expect(page.text()).not.toContain("Stop its processes");
  });

  it("can be retried with a button, after a confirmation", async () => {
    server.json("POST /deployments/5/retry", aDeployment({ id: 6, retry_of: 5, state: "queued" }));
    const page = await open({ state: "failure", finished: AT });
    const button = page.findAll("button").find(found => found.text() === "Retry");
    await button?.trigger("click");
    await button?.trigger("click");
    await settle();
    expect(server.called("POST /deployments/5/retry")).toHaveLength(0);
    document.querySelector("[role=dialog] form")?.dispatchEvent(new Event("submit", { cancelable: true }));
    await settle();
    expect(server.called("POST /deployments/5/retry")).toHaveLength(1);
  });
});

describe("a missing deployment", () => {
  it("shows that it was not found", async () => {
    server.json("GET /deployments/5", { detail: "Deployment not found" }, 404);
    const { wrapper } = await mountInApp(DeploymentView, { at: "/deployment/5" });
    await settle();
    expect(wrapper.text()).toContain("Deployment not found");
  });
});

describe("leaving the page", () => {
  it("ends the subscription", async () => {
    const page = await open();
    page.unmount();
    expect(FakeSocket.last.sent.at(-1)).toEqual({ unsubscribe: { deployment_id: 5 } });
  });
});
