import { flushPromises } from "@vue/test-utils";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Worker } from "@/api/types";
import { usePushStore } from "@/stores/push";
import QueueView from "@/views/QueueView.vue";
import { freshStores, mountInApp, signIn } from "../support/app";
import { aDeployment, aDetail } from "../support/data";
import { FakeServer, FakeSocket } from "../support/network";

let server: FakeServer;

const aWorker = (fields: Partial<Worker> = {}): Worker => ({
  id: "w1", host: "build1", version: "1.0.0", slots: 4, running: [], alive: true,
  started: "2026-01-01T09:00:00Z", last_seen: "2026-01-01T10:00:00Z", ...fields,
});
const waiting = (id: number) => ({
  ...aDeployment({ id, state: "queued", started: null }),
  waiting: { reason: "Deployment 5 of shop is running ahead of it; one at a time.", position: 0, blocked_by: 5 },
});
const queue = (parts: { running?: object[]; waiting?: object[]; workers?: Worker[]; [name: string]: unknown } = {}) => ({
  running: [], waiting: [], workers: [aWorker()], next_after: null,
  running_count: parts.running?.length ?? 0, waiting_count: parts.waiting?.length ?? 0, ...parts,
});

beforeEach(async () => {
  freshStores();
  FakeSocket.install();
  document.body.replaceChildren();
  server = new FakeServer().json("GET /deployments/5", aDetail());
  await signIn(server);
  usePushStore().start();
  FakeSocket.last.welcome();
  return () => usePushStore().stop();
});

async function open(answer: object, status = 200) {
  server.json("GET /queue/", answer, status);
  return (await mountInApp(QueueView)).wrapper;
}

describe("the queue", () => {
  it("shows running and waiting deployments with reasons and links", async () => {
    const page = await open(queue({
      running: [aDeployment()], waiting: [waiting(6), waiting(7)], workers: [aWorker({ running: [5] })],
    }));
    expect(page.get("a[data-deployment='5']").text()).toContain("shop");
    expect(page.findAll("ol [data-deployment]").map(row => row.attributes("data-deployment"))).toEqual(["6", "7"]);
    expect(page.get("ol").text()).toContain("one at a time");
    expect(page.get("ol a[href='/deployment/5']").text()).toBe("View #5");
    expect(page.get("[data-worker]").text()).toContain("1 of 4 slots in use");
  });

  it("removes finished deployments and reloads the queue", async () => {
    const page = await open(queue({ running: [aDeployment()], waiting: [waiting(6)] }));
    server.json("GET /queue/", queue({ running: [aDeployment({ id: 6 })] })).json("GET /deployments/6", aDetail({ id: 6 }));
    FakeSocket.last.say({ type: "deployment", deployment_id: 5, ...aDeployment({ state: "success", seq: 2 }) });
    await flushPromises();
    expect(page.find("a[data-deployment='5']").exists()).toBe(false);
    await vi.waitFor(() => expect(page.find("a[data-deployment='6']").exists()).toBe(true));
    expect(page.find("ol").exists()).toBe(false);
  });

  it("shows a long queue in pages", async () => {
    const page = await open(queue({ waiting: [waiting(6), waiting(7)], waiting_count: 10_000, next_after: 7 }));
    const [previous, next] = page.findAll("nav button");
    expect(page.get("nav").text()).toContain("1–2 of 10000");
    expect(previous?.attributes("disabled")).toBeDefined();
    server.json("GET /queue/", queue({ waiting: [waiting(8)], waiting_count: 10_000 }));
    await next?.trigger("click");
    await flushPromises();
    expect(server.called("GET /queue/").at(-1)?.query.get("after")).toBe("7");
    expect(page.findAll("ol [data-deployment]").map(row => row.attributes("data-deployment"))).toEqual(["8"]);
    expect(page.get("ol").text()).toContain("21");
    expect(next?.attributes("disabled")).toBeDefined();
    await previous?.trigger("click");
    await flushPromises();
    expect(server.called("GET /queue/").at(-1)?.query.get("after")).toBe("0");
  });

  it("returns to the page before if everything on a page has started", async () => {
    const page = await open(queue({ waiting: [waiting(6)], waiting_count: 2, next_after: 6 }));
    server.on("GET /queue/", ({ query }) => ({
      json: query.get("after") === "6" ? queue() : queue({ waiting: [waiting(6)] }),
    }));
    await page.findAll("nav button")[1]?.trigger("click");
    await flushPromises();
    expect(page.findAll("ol [data-deployment]").map(row => row.attributes("data-deployment"))).toEqual(["6"]);
  });

  it("shows that it is empty", async () => {
    expect((await open(queue())).text()).toContain("The queue is empty");
  });

  it("marks an offline worker with instructions, after the online ones", async () => {
    const page = await open(queue({ workers: [aWorker({ id: "w0", host: "app1", alive: false }), aWorker()] }));
    const cards = page.findAll("[data-worker]");
    expect(cards.map(card => card.attributes("data-alive"))).toEqual(["true", "false"]);
    expect(cards[1]?.text()).toContain("To restart it, run this on app1");
    expect(page.find("[role=alert]").exists()).toBe(false);
  });

  it("warns when no worker is online", async () => {
    const page = await open(queue({ workers: [aWorker({ alive: false })] }));
    expect(page.get("[role=alert]").text()).toContain("No workers online");
  });

  it("shows the error and retries on request", async () => {
    const page = await open({}, 503);
    expect(page.get("[role=alert]").text()).toContain("The database is temporarily unavailable");
    server.json("GET /queue/", queue());
    await page.get("[role=alert] button").trigger("click");
    await flushPromises();
    expect(page.text()).toContain("The queue is empty");
  });
});
