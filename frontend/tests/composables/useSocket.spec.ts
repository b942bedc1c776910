import { beforeEach, describe, expect, it, vi } from "vitest";
import { effectScope, ref, type EffectScope } from "vue";
import type { ServerMessage } from "@/api/messages";
import { useSocket } from "@/composables/useSocket";
import { FakeSocket } from "../support/network";

const token = ref<string | null>("token-1");
const renew = vi.fn(() => Promise.resolve(true));
const probe = vi.fn(() => Promise.resolve(true));
let received: ServerMessage[] = [];
let scope: EffectScope;
let socket: ReturnType<typeof useSocket>;

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.install();
  token.value = "token-1";
  renew.mockClear();
  probe.mockReset().mockResolvedValue(true);
  received = [];
  scope = effectScope();
  socket = scope.run(() => useSocket({
    url: () => "ws://x", token, renew, probe, receive: message => received.push(message),
  })) as typeof socket;
  socket.open();
  return () => {
    scope.stop();
    vi.useRealTimers();
  };
});

/** Advances the time until the next attempt; returns how long that took. */
async function nextAttempt(): Promise<number> {
  const before = FakeSocket.opened.length;
  let waited = 0;
  while (FakeSocket.opened.length === before) {
    await vi.advanceTimersByTimeAsync(50);
    waited += 50;
  }
  return waited;
}

describe("connecting", () => {
  it("authenticates first and is live once the server confirms", () => {
    expect(socket.status.value).toBe("connecting");
    FakeSocket.last.open();
    expect(FakeSocket.last.sent).toEqual([{ access_token: "token-1" }]);
    expect(socket.send({ unsubscribe: { deployment_id: 1 } })).toBe(false);
    FakeSocket.last.say({ type: "authentication", status: "success" });
    expect(socket.status.value).toBe("live");
    expect(socket.send({ unsubscribe: { deployment_id: 1 } })).toBe(true);
  });

  it("passes messages on and ignores invalid ones", () => {
    FakeSocket.last.welcome();
    FakeSocket.last.onmessage?.({ data: "not json" });
    FakeSocket.last.onmessage?.({ data: "[1]" });
    FakeSocket.last.say({ type: "ping" });
    expect(received.map(message => message.type)).toEqual(["authentication", "ping"]);
  });

  it("renews a rejected token once and reconnects with the new one", async () => {
    renew.mockImplementation(() => {
      token.value = "token-2";
      return Promise.resolve(true);
    });
    FakeSocket.last.open();
    FakeSocket.last.say({ type: "authentication", status: "failure" });
    await vi.advanceTimersByTimeAsync(0);
    expect(FakeSocket.opened).toHaveLength(2);
    FakeSocket.last.open();
    expect(FakeSocket.last.sent).toEqual([{ access_token: "token-2" }]);
    FakeSocket.last.say({ type: "authentication", status: "failure" });
    expect(renew).toHaveBeenCalledTimes(1);
  });

  it("waits for a token", async () => {
    socket.close();
    token.value = null;
    FakeSocket.install();
    socket.open();
    expect(FakeSocket.opened).toHaveLength(0);
    token.value = "token-3";
    expect(FakeSocket.opened).toHaveLength(1);
  });

  it("gives up on a connection that never authenticates", async () => {
    FakeSocket.last.open();
    await vi.advanceTimersByTimeAsync(10_001);
    expect(FakeSocket.opened[0]?.closed).toBe(true);
    expect(socket.status.value).toBe("waiting");
  });
});

describe("a lost connection", () => {
  it("is retried with increasing delays", async () => {
    const waits: number[] = [];
    for (let attempt = 0; attempt < 5; attempt += 1) {
      FakeSocket.last.breakOff();
      expect(socket.status.value).toBe("waiting");
      waits.push(await nextAttempt());
    }
    expect(waits[0]).toBeLessThanOrEqual(550);
    expect(waits[4]).toBeGreaterThanOrEqual(3900);
  });

  it("resets the backoff after a success", async () => {
    for (let attempt = 0; attempt < 6; attempt += 1) {
      FakeSocket.last.breakOff();
      await nextAttempt();
    }
    FakeSocket.last.welcome();
    FakeSocket.last.breakOff();
    expect(await nextAttempt()).toBeLessThanOrEqual(550);
  });

  it("is detected by its silence", async () => {
    FakeSocket.last.welcome();
    await vi.advanceTimersByTimeAsync(20_000);
    FakeSocket.last.say({ type: "ping" });
    await vi.advanceTimersByTimeAsync(20_000);
    expect(probe).not.toHaveBeenCalled();
    probe.mockResolvedValue(false);
    await vi.advanceTimersByTimeAsync(2_001);
    expect(probe).toHaveBeenCalledTimes(1);
    expect(socket.status.value).toBe("waiting");
  });

  it("is detected although the server answers requests", async () => {
    FakeSocket.last.welcome();
    await vi.advanceTimersByTimeAsync(22_001);
    expect(socket.status.value).toBe("live");
    await vi.advanceTimersByTimeAsync(22_001);
    expect(socket.status.value).toBe("waiting");
  });

  it.each([[false, "waiting"], [true, "live"]] as const)(
    "is checked when the browser goes offline (server reachable: %s)", async (reached, status) => {
      FakeSocket.last.welcome();
      probe.mockResolvedValue(reached);
      window.dispatchEvent(new Event("offline"));
      await vi.advanceTimersByTimeAsync(0);
      expect(socket.status.value).toBe(status);
    },
  );

  it("is retried immediately when the network is back", () => {
    FakeSocket.last.breakOff();
    window.dispatchEvent(new Event("online"));
    expect(FakeSocket.opened).toHaveLength(2);
  });

  it("is ignored once it has been replaced", async () => {
    const old = FakeSocket.last;
    old.welcome();
    old.breakOff();
    await vi.advanceTimersByTimeAsync(600);
    FakeSocket.last.welcome();
    old.say({ type: "ping" });
    old.breakOff();
    expect(socket.status.value).toBe("live");
    expect(received.filter(message => message.type === "ping")).toHaveLength(0);
  });

  it("does not reconnect after being closed on purpose", async () => {
    FakeSocket.last.welcome();
    socket.close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeSocket.opened).toHaveLength(1);
    expect(socket.status.value).toBe("off");
  });
});

describe("staying signed in", () => {
  it("sends a new token on the open connection", () => {
    FakeSocket.last.welcome();
    token.value = "token-2";
    expect(FakeSocket.last.sent.at(-1)).toEqual({ access_token: "token-2" });
    expect(FakeSocket.opened).toHaveLength(1);
  });

  it("renews when the server warns that the session ends", () => {
    FakeSocket.last.welcome();
    FakeSocket.last.say({ type: "warning", detail: "Your session is about to end.", code: "token_expires" });
    expect(renew).toHaveBeenCalledTimes(1);
  });

  it("keeps a connection whose new token was rejected", () => {
    FakeSocket.last.welcome();
    FakeSocket.last.say({ type: "authentication", status: "failure", detail: "The database cannot be reached." });
    expect(socket.status.value).toBe("live");
  });
});
