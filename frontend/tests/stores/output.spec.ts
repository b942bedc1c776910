import { beforeEach, describe, expect, it, vi } from "vitest";
import { findLines } from "@/composables/useLogSearch";
import { useOutputStore } from "@/stores/output";
import { usePushStore } from "@/stores/push";
import { freshStores, signIn } from "../support/app";
import { FakeServer, FakeSocket } from "../support/network";

const AT = "2026-01-01T10:00:00Z";
const TOTAL = 2500;

let server: FakeServer;

beforeEach(async () => {
  freshStores();
  FakeSocket.install();
  server = new FakeServer().on("GET /deployments/5/output", ({ query }) => {
    const [after, limit] = [Number(query.get("after")), Number(query.get("limit"))];
    const count = Math.max(0, Math.min(limit, TOTAL - after));
    const lines = Array.from({ length: count }, (_, index) => ({
      n: after + index + 1, at: AT, text: `stored ${after + index + 1}`, step_id: null,
    }));
    return { json: { lines, total: TOTAL, next_after: null } };
  });
  await signIn(server);
  usePushStore().start();
  FakeSocket.last.welcome();
  return () => usePushStore().stop();
});

const frame = () => new Promise(resolve => requestAnimationFrame(resolve));
const print = (...numbers: number[]) => FakeSocket.last.say({
  type: "output", deployment_id: 5, seq: 0, lines: numbers.map(n => [n, AT, `live ${n}`, 7]),
});

describe("the output of a deployment", () => {
  it("is fetched only for visible lines", async () => {
    const store = useOutputStore();
    const log = store.announce(5, TOTAL);
    await store.ensure(5, 1990, 2010);
    expect(server.called("GET /deployments/5/output").map(({ query }) => query.get("after"))).toEqual(["1000", "2000"]);
    expect(log.lines[1999]?.text).toBe("stored 2000");
    expect(log.lines[0]).toBeUndefined();
    expect(log.loaded).toBe(1500);
  });

  it("is not fetched twice", async () => {
    const store = useOutputStore();
    store.announce(5, TOTAL);
    await Promise.all([store.ensure(5, 0, 10), store.ensure(5, 0, 999)]);
    await store.ensure(5, 5, 6);
    expect(server.called("GET /deployments/5/output")).toHaveLength(1);
  });

  it("grows with new lines, each once, even if messages overlap", async () => {
    const store = useOutputStore();
    const log = store.of(5);
    print(1, 2);
    print(2, 3);
    await frame();
    expect(log.lines.map(line => line?.text)).toEqual(["live 1", "live 2", "live 3"]);
    expect(log).toMatchObject({ total: 3, loaded: 3 });
  });

  it("renders at most once per frame", async () => {
    const log = useOutputStore().of(5);
    for (let n = 1; n <= 500; n += 1) print(n);
    expect(log.version).toBe(0);
    await frame();
    expect(log).toMatchObject({ version: 1, total: 500 });
  });

  it("reports lines that cannot be loaded and retries on request", async () => {
    const store = useOutputStore();
    const log = store.announce(5, 10);
    let up = false;
    server.on("GET /deployments/5/output", () => up
      ? { json: { lines: [{ n: 1, at: AT, text: "there", step_id: null }], total: 1, next_after: null } }
      : "unreachable");
    await store.ensure(5, 0, 9);
    expect(log.error).not.toBeNull();
    up = true;
    await store.ensure(5, 0, 9);
    expect(log.error).toBeNull();
    expect(log.lines[0]?.text).toBe("there");
  });

  it("is fetched completely for a search, until the search is stopped", async () => {
    const store = useOutputStore();
    const log = store.announce(5, TOTAL);
    await store.ensureAll(5, () => true);
    expect(log.loaded).toBe(0);
    await store.ensureAll(5, () => false);
    expect(log.loaded).toBe(TOTAL);
    expect(findLines(log.lines, "STORED 249")).toEqual([249, ...Array.from({ length: 10 }, (_, index) => 2490 + index)]);
  });

  it("is searched on the server in parts, until the search is stopped", async () => {
    const store = useOutputStore();
    const pages: Record<string, object> = {
      0: { lines: [{ n: 3, at: AT, text: "error", step_id: null }], total: 90, next_after: 40 },
      40: { lines: [], total: 90, next_after: 80 },
      80: { lines: [{ n: 85, at: AT, text: "error", step_id: null }], total: 90, next_after: null },
    };
    server.on("GET /deployments/5/output", ({ query }) => ({ json: pages[query.get("after") ?? ""] }));
    const parts: [number[], number][] = [];
    await store.search(5, "error", (...part) => parts.push(part) > 0);
    expect(parts).toEqual([[[3], 40], [[], 80], [[85], 90]]);
    const before = server.calls.length;
    await store.search(5, "error", () => false);
    expect(server.calls.length - before).toBe(1);
  });

  it("is released when the last viewer leaves", () => {
    const store = useOutputStore();
    store.announce(5, 10);
    store.drop(5);
    expect(store.of(5).total).toBe(0);
  });

  it("is searched without its colors", () => {
    const lines = [{ n: 1, at: AT, text: "con\u001b[31mnection", stepId: null }, undefined];
    expect(findLines(lines, "connection")).toEqual([1]);
  });

  it("does not listen to other deployments", async () => {
    const log = useOutputStore().of(6);
    print(1);
    await frame();
    expect(log.total).toBe(0);
    expect(vi.isFakeTimers()).toBe(false);
  });
});
