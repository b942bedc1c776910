import { beforeEach, describe, expect, it, vi } from "vitest";
import { useDeploymentsStore } from "@/stores/deployments";
import { usePushStore } from "@/stores/push";
import { useServicesStore, withDeployment } from "@/stores/services";
import { useStepsStore } from "@/stores/steps";
import { tokenState, useTokensStore } from "@/stores/tokens";
import { freshStores, signIn } from "../support/app";
import { aDeployment, aDetail, aService, aStep, aToken } from "../support/data";
import { FakeServer, FakeSocket } from "../support/network";

let server: FakeServer;

beforeEach(async () => {
  freshStores();
  FakeSocket.install();
  server = new FakeServer();
  await signIn(server);
  usePushStore().start();
  FakeSocket.last.welcome();
  return () => usePushStore().stop();
});

const say = (message: object) => FakeSocket.last.say(message);
const change = (fields: Parameters<typeof aDeployment>[0]) => {
  const deployment = aDeployment(fields);
  say({ type: "deployment", deployment_id: deployment.id, ...deployment });
};
const stepChange = (seq: number, fields: Parameters<typeof aStep>[0], deleted = false) =>
  say({ type: "step", seq, deleted, ...aStep(fields) });

describe("services", () => {
  beforeEach(async () => {
    server.json("GET /services/", [aService({ id: 2, name: "wiki" }), aService()]);
    await useServicesStore().load();
  });

  it("are listed by name", () => {
    expect(useServicesStore().list.map(({ name }) => name)).toEqual(["shop", "wiki"]);
  });

  it("appear, change, and disappear with the server's messages", () => {
    const store = useServicesStore();
    say({ type: "service", id: 3, name: "blog", data: {}, deleted: false });
    expect(store.list.map(({ name }) => name)).toEqual(["blog", "shop", "wiki"]);
    expect(store.byId[3]).toMatchObject({ last_deployment: null, active_deployments: [] });
    say({ type: "service", id: 1, name: "shop", data: { description: "New" }, deleted: false });
    expect(store.byId[1]?.data.description).toBe("New");
    say({ type: "service", id: 2, name: "wiki", data: {}, deleted: true });
    expect(store.list.map(({ name }) => name)).toEqual(["blog", "shop"]);
  });

  it("show their running deployments, and the last one that ended", () => {
    const store = useServicesStore();
    change({ id: 8, seq: 1, state: "running" });
    change({ id: 9, seq: 1, state: "queued" });
    expect(store.byId[1]?.active_deployments.map(({ id }) => id)).toEqual([8, 9]);
    change({ id: 8, seq: 2, state: "failure" });
    expect(store.byId[1]?.active_deployments.map(({ id }) => id)).toEqual([9]);
    expect(store.byId[1]?.last_deployment).toMatchObject({ id: 8, state: "failure" });
  });

  it("count deployments that are not listed, and list the running ones first", () => {
    const store = useServicesStore();
    for (let id = 1; id <= 30; id += 1) change({ id, seq: 1, state: "queued" });
    expect(store.byId[1]?.active_deployments).toHaveLength(20);
    expect(store.byId[1]?.active_count).toBe(30);
    change({ id: 30, seq: 2, state: "running" });
    expect(store.byId[1]?.active_deployments[0]).toMatchObject({ id: 30 });
    expect(store.byId[1]?.active_count).toBe(30);
    change({ id: 30, seq: 3, state: "success" });
    change({ id: 30, seq: 4, state: "success" });
    expect(store.byId[1]?.active_count).toBe(29);
  });

  it("show the last outcome while another deployment runs", async () => {
    const [running, ended] = [aDeployment({ id: 9 }), aDeployment({ id: 8, state: "failure" })];
    server.json("GET /services/", [aService({ last_deployment: running, active_deployments: [running] })]);
    server.json("GET /deployments/", [ended]);
    await useServicesStore().load();
    expect(useServicesStore().byId[1]?.last_deployment?.id).toBe(8);
    const [asked] = server.called("GET /deployments/");
    expect(asked?.query.toString()).toBe("service_id=1&state=success&state=failure&state=cancelled&limit=1");
  });

  it("keep the newer last deployment when an older one ends late", () => {
    const service = aService({ last_deployment: aDeployment({ id: 9, state: "success" }) });
    expect(withDeployment(service, aDeployment({ id: 8, state: "cancelled" })).last_deployment?.id).toBe(9);
  });

  it("report the result of a reload", async () => {
    const problems = [{ folder: "broken", file: "config.json", reason: "no JSON" }];
    server.json("POST /services/sync", { detail: "Services synced", added: [], changed: ["shop"], removed: [], problems });
    const report = await useServicesStore().sync();
    expect(report.changed).toEqual(["shop"]);
    expect(useServicesStore().problems).toEqual(problems);
  });
});

describe("deployments", () => {
  it("keep their newest version regardless of arrival order", () => {
    const store = useDeploymentsStore();
    change({ seq: 5, state: "success" });
    change({ seq: 3, state: "running" });
    expect(store.byId[5]).toMatchObject({ seq: 5, state: "success" });
  });

  it("are started with their values and an idempotency key", async () => {
    server.json("POST /services/1/deployments", aDeployment({ id: 77, state: "queued" }));
    const started = await useDeploymentsStore().start(1, { BRANCH: "main" }, "key-1");
    expect(started.id).toBe(77);
    const [sent] = server.called("POST /services/1/deployments");
    expect(sent?.body).toEqual({ env: { BRANCH: "main" }, origin: "frontend" });
    expect(sent?.headers.get("Idempotency-Key")).toBe("key-1");
  });

  it("are fetched with their filters, page by page", async () => {
    server.json("GET /deployments/", []);
    await useDeploymentsStore().fetchPage({ state: ["failure"], user: "lena" }, 40);
    expect(Object.fromEntries(server.calls.at(-1)?.query ?? [])).toEqual({
      state: "failure", user: "lena", before: "40", limit: "50",
    });
  });
});

describe("steps", () => {
  beforeEach(async () => {
    const steps = [aStep({ id: 2, name: "Second", position: 2 }), aStep({ id: 1, name: "First", position: 1 })];
    server.json("GET /deployments/5", aDetail({ seq: 10, steps }));
    await useDeploymentsStore().fetchOne(5);
  });

  const names = () => useStepsStore().of(5).map(({ name, state }) => `${name} ${state}`);

  it("are sorted by execution order, then by the plan", () => {
    expect(names()).toEqual(["First pending", "Second pending"]);
    stepChange(11, { id: 2, name: "Second", position: 2, run_order: 1, state: "running" });
    expect(names()).toEqual(["Second running", "First pending"]);
  });

  it("change, are added and are removed by messages", () => {
    stepChange(11, { id: 3, name: "Third", position: 3 });
    stepChange(12, { id: 1, name: "First", state: "success" });
    stepChange(13, { id: 2, name: "Second" }, true);
    expect(names()).toEqual(["First success", "Third pending"]);
  });

  it("ignore messages already in the snapshot, and snapshots older than the messages", async () => {
    stepChange(9, { id: 1, name: "First", state: "failure" });
    expect(names()[0]).toBe("First pending");
    stepChange(11, { id: 1, name: "First", state: "success" });
    await useDeploymentsStore().fetchOne(5);
    expect(names()[0]).toBe("First success");
  });

  it("of a deployment without viewers are not kept", () => {
    stepChange(3, { id: 9, deployment_id: 6 });
    expect(useStepsStore().of(6)).toEqual([]);
  });
});

describe("tokens", () => {
  it("are valid until they expire or are revoked", () => {
    const now = Date.parse("2026-03-01T00:00:00Z");
    expect(tokenState(aToken(), now)).toBe("active");
    expect(tokenState(aToken({ expires: "2026-02-01T00:00:00Z" }), now)).toBe("expired");
    expect(tokenState(aToken({ revoked: "2026-02-01T00:00:00Z" }), now)).toBe("revoked");
  });

  it("return their value on creation and keep only the record", async () => {
    server.json("POST /service-token", { service_token: "s3cret", token_type: "bearer" }).json("GET /tokens/", [aToken()]);
    const store = useTokensStore();
    const value = await store.create({ kind: "service", service: "shop", origin: "GitHub", days: 30 });
    expect(value).toBe("s3cret");
    expect(JSON.stringify(store.$state)).not.toContain("s3cret");
    expect(server.called("POST /service-token")[0]?.body).toEqual({
      service: "shop", origin: "GitHub", expiration_in_days: 30,
    });
  });

  it("are revoked by their ID", async () => {
    const revoked = vi.fn(() => ({ status: 204 }));
    server.on("DELETE /tokens/abc", revoked).json("GET /tokens/", [aToken({ revoked: "2026-02-01T00:00:00Z" })]);
    await useTokensStore().revoke("abc");
    expect(revoked).toHaveBeenCalledOnce();
    expect(useTokensStore().list[0]?.revoked).not.toBeNull();
  });
});
