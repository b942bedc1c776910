import { flushPromises } from "@vue/test-utils";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { call } from "@/api/errors";
import { useSessionStore } from "@/stores/session";
import { freshStores, signIn } from "../support/app";
import { aUser } from "../support/data";
import { FakeServer } from "../support/network";

const session = (token: string, expiresIn = 1800) => ({ access_token: token, token_type: "bearer", expires_in: expiresIn });

let server: FakeServer;

beforeEach(() => {
  vi.useFakeTimers();
  freshStores();
  server = new FakeServer().json("GET /users/me", aUser());
  return () => vi.useRealTimers();
});

describe("restoring a session", () => {
  it("gets a token with the cookie, and the header that other sites cannot send", async () => {
    server.json("POST /session/refresh", session("token-1"));
    const store = useSessionStore();
    await store.restore();
    expect(store.signedIn).toBe(true);
    expect(store.user?.name).toBe("lena");
    expect(server.called("POST /session/refresh")[0]?.headers.get("X-Requested-With")).toBe("fastdeploy");
    expect(server.called("GET /users/me")[0]?.headers.get("Authorization")).toBe("Bearer token-1");
  });

  it("sends one request for concurrent callers", async () => {
    server.json("POST /session/refresh", session("token-1"));
    const store = useSessionStore();
    await Promise.all([store.restore(), store.restore()]);
    await store.restore();
    expect(server.called("POST /session/refresh")).toHaveLength(1);
  });

  it("leads to the sign-in page without a cookie", async () => {
    server.json("POST /session/refresh", { detail: "Not authenticated" }, 401);
    const store = useSessionStore();
    await store.restore();
    expect(store.state).toBe("signed-out");
  });

  it("waits for a server that cannot be reached", async () => {
    let up = false;
    server.on("POST /session/refresh", () => up ? { json: session("token-1") } : "unreachable");
    const store = useSessionStore();
    const restored = store.restore();
    await vi.advanceTimersByTimeAsync(100);
    expect(store.state).toBe("unreachable");
    up = true;
    await vi.advanceTimersByTimeAsync(4000);
    await restored;
    expect(store.signedIn).toBe(true);
  });
});

describe("the access token", () => {
  it("is kept in memory only", async () => {
    await signIn(server);
    expect(JSON.stringify({ ...localStorage }) + JSON.stringify({ ...sessionStorage })).not.toContain("token-1");
    expect(document.cookie).toBe("");
  });

  it("is renewed before it expires", async () => {
    await signIn(server);
    server.json("POST /session/refresh", session("token-2"));
    await vi.advanceTimersByTimeAsync((1800 - 61) * 1000);
    expect(useSessionStore().token).toBe("token-1");
    await vi.advanceTimersByTimeAsync(2000);
    expect(useSessionStore().token).toBe("token-2");
  });

  it("is renewed once for all rejected requests, which are then retried", async () => {
    await signIn(server);
    const { api } = useSessionStore();
    server
      .json("POST /session/refresh", session("token-2"))
      .on("GET /services/", ({ headers }) => headers.get("Authorization") === "Bearer token-2"
        ? { json: [] }
        : { status: 401, json: { detail: "Could not validate credentials" } });
    const answers = await Promise.all([call(api.GET("/services/")), call(api.GET("/services/"))]);
    expect(answers).toEqual([[], []]);
    expect(server.called("POST /session/refresh")).toHaveLength(1);
  });

  it("resends the body when a request is retried", async () => {
    await signIn(server);
    server
      .json("POST /session/refresh", session("token-2"))
      .on("POST /service-token", ({ headers }) => headers.get("Authorization") === "Bearer token-2"
        ? { json: { service_token: "x", token_type: "bearer" } }
        : { status: 401 });
    const body = { service: "shop", origin: "GitHub", expiration_in_days: 3 };
    await call(useSessionStore().api.POST("/service-token", { body }));
    expect(server.called("POST /service-token").map(sent => sent.body)).toEqual([body, body]);
  });
});

describe("a session that has ended", () => {
  it("signs out when the cookie is rejected as well", async () => {
    await signIn(server);
    server.json("POST /session/refresh", {}, 401).json("GET /services/", {}, 401);
    const store = useSessionStore();
    await expect(call(store.api.GET("/services/"))).rejects.toMatchObject({ status: 401 });
    expect(store.state).toBe("signed-out");
    expect(store.token).toBeNull();
  });

  it("survives a server restart", async () => {
    await signIn(server);
    let answer: "unreachable" | { json: unknown } = "unreachable";
    server.on("POST /session/refresh", () => answer);
    const store = useSessionStore();
    expect(await store.renew()).toBe(false);
    expect(store.signedIn).toBe(true);
    expect(store.reachable).toBe(false);
    answer = { json: session("token-2") };
    await vi.advanceTimersByTimeAsync(4000);
    expect(store.token).toBe("token-2");
    expect(store.reachable).toBe(true);
  });
});

describe("signing in and out", () => {
  it("rejects a wrong password with the server's message", async () => {
    server.json("POST /session", { detail: "Incorrect username or password" }, 401);
    await expect(useSessionStore().signIn("lena", "wrong")).rejects.toMatchObject({
      status: 401, detail: "Incorrect username or password",
    });
  });

  it("clears everything even if the server cannot be reached", async () => {
    await signIn(server);
    server.on("DELETE /session", () => "unreachable");
    const store = useSessionStore();
    await store.signOut().catch(() => null);
    await flushPromises();
    expect(store).toMatchObject({ token: null, user: null, state: "signed-out" });
  });
});
