import { flushPromises } from "@vue/test-utils";
import { beforeEach, describe, expect, it } from "vitest";
import { ref } from "vue";
import { useDeploymentList } from "@/composables/useDeploymentList";
import { matches } from "@/lib/filters";
import type { DeploymentFilters } from "@/stores/deployments";
import { usePushStore } from "@/stores/push";
import { freshStores, runInApp, signIn } from "../support/app";
import { aDeployment } from "../support/data";
import { FakeServer, FakeSocket } from "../support/network";

let server: FakeServer;
const TOTAL = 120;

beforeEach(async () => {
  freshStores();
  FakeSocket.install();
  server = new FakeServer().on("GET /deployments/", ({ query }) => {
    const before = Number(query.get("before") ?? TOTAL + 1);
    const state = query.get("state") === "failure" ? "failure" : "success";
    const count = Math.min(Number(query.get("limit")), before - 1);
    return { json: Array.from({ length: count }, (_, index) => aDeployment({ id: before - 1 - index, state })) };
  });
  await signIn(server);
  usePushStore().start();
  FakeSocket.last.welcome();
  return () => usePushStore().stop();
});

async function open(filters = ref<DeploymentFilters>({}), reading = () => false) {
  const { result, unmount } = await runInApp(() => useDeploymentList(() => filters.value, reading));
  await flushPromises();
  return { ...result, filters, unmount, ids: () => result.list.value.map(({ id }) => id) };
}

const appear = (fields: Parameters<typeof aDeployment>[0]) => {
  const deployment = aDeployment(fields);
  FakeSocket.last.say({ type: "deployment", deployment_id: deployment.id, ...deployment });
};

describe("a list of deployments", () => {
  it("is loaded page by page, by cursor, until its end", async () => {
    const { ids, loadMore, complete } = await open();
    expect(ids()).toHaveLength(50);
    await loadMore();
    expect(ids()).toHaveLength(100);
    expect(complete.value).toBe(false);
    await loadMore();
    expect(ids()).toEqual(Array.from({ length: TOTAL }, (_, index) => TOTAL - index));
    expect(complete.value).toBe(true);
  });

  it("adds new matching deployments at the top", async () => {
    const { ids } = await open(ref<DeploymentFilters>({ state: ["running"] }));
    appear({ id: 200, state: "running" });
    appear({ id: 201, state: "queued" });
    expect(ids()[0]).toBe(200);
  });

  it("keeps a row that no longer matches, in its newest version", async () => {
    const { list } = await open(ref<DeploymentFilters>({ state: ["running"] }));
    appear({ id: 200, state: "running", seq: 1 });
    appear({ id: 200, state: "success", seq: 2 });
    expect(list.value[0]).toMatchObject({ id: 200, state: "success" });
  });

  it("does not move rows while reading; counts new ones and shows them on request", async () => {
    const { ids, fresh, showFresh } = await open(ref({}), () => true);
    const before = ids();
    appear({ id: 200 });
    appear({ id: 201 });
    appear({ id: 201, seq: 2 });
    expect(ids()).toEqual(before);
    expect(fresh.value).toBe(2);
    showFresh();
    expect(ids().slice(0, 3)).toEqual([201, 200, TOTAL]);
    expect(fresh.value).toBe(0);
  });

  it("starts over when the filters change", async () => {
    const { filters, list, loadMore } = await open();
    await loadMore();
    filters.value = { state: ["failure"] };
    await flushPromises();
    expect(list.value).toHaveLength(50);
    expect(new Set(list.value.map(({ state }) => state))).toEqual(new Set(["failure"]));
  });

  it("shows the error", async () => {
    server.json("GET /deployments/", {}, 503);
    const { problem, loaded } = await open();
    expect(problem.value).toContain("The database is temporarily unavailable");
    expect(loaded.value).toBe(false);
  });
});

describe("matching", () => {
  it("requires every filter that is set", () => {
    const deployment = aDeployment({ user: "lena", origin: "cli" });
    expect(matches(deployment, {})).toBe(true);
    expect(matches(deployment, { user: "lena", origin: undefined })).toBe(true);
    expect(matches(deployment, { user: "lena", origin: "GitHub" })).toBe(false);
    expect(matches(deployment, { state: ["queued", "running"] })).toBe(true);
    expect(matches(deployment, { state: ["failure"] })).toBe(false);
    expect(matches(deployment, { since: "2026-01-01T10:00:00Z", until: "2026-01-01T10:00:01Z" })).toBe(true);
    expect(matches(deployment, { until: "2026-01-01T10:00:00Z" })).toBe(false);
  });
});
