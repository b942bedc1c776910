import { beforeEach, describe, expect, it, vi } from "vitest";
import type { OutputMessage } from "@/api/messages";
import { usePushStore } from "@/stores/push";
import { freshStores, signIn } from "../support/app";
import { FakeServer, FakeSocket } from "../support/network";

const output = (seq: number, deploymentId = 5): OutputMessage => ({
  type: "output", deployment_id: deploymentId, seq, lines: [[seq, "2026-01-01T10:00:00Z", `line ${seq}`, null]],
});

let server: FakeServer;
/** All messages that the server has stored for deployment 5. */
let history: OutputMessage[] = [];
let heard: number[] = [];
let push: ReturnType<typeof usePushStore>;

beforeEach(async () => {
  vi.useFakeTimers();
  freshStores();
  FakeSocket.install();
  history = [];
  heard = [];
  server = new FakeServer().on("GET /deployments/5/events", ({ query }) => {
    const later = history.filter(message => message.seq > Number(query.get("after")));
    const events = later.slice(0, 3);
    return { json: { events, last_seq: events.at(-1)?.seq ?? Number(query.get("after")), more: later.length > 3 } };
  });
  await signIn(server);
  push = usePushStore();
  push.on("output", message => heard.push(message.seq));
  push.start();
  return () => {
    push.stop();
    vi.useRealTimers();
  };
});

function happen(...seqs: number[]): void {
  history.push(...seqs.map(seq => output(seq)));
}

describe("following a deployment", () => {
  it("subscribes after its cursor and applies messages in order, each once", () => {
    FakeSocket.last.welcome();
    push.follow(5, 2);
    expect(FakeSocket.last.sent.at(-1)).toEqual({ subscribe: { deployment_id: 5, after: 2 } });
    for (const seq of [2, 3, 5, 4, 4, 6]) FakeSocket.last.say(output(seq));
    expect(heard).toEqual([3, 4, 5, 6]);
  });

  it("subscribes after connecting if it began before", () => {
    push.follow(5, 7);
    FakeSocket.last.welcome();
    expect(FakeSocket.last.sent.at(-1)).toEqual({ subscribe: { deployment_id: 5, after: 7 } });
  });

  it("fetches missing messages when a gap stays open", async () => {
    FakeSocket.last.welcome();
    push.follow(5, 0);
    happen(1, 2, 3, 4, 5);
    FakeSocket.last.say(output(1));
    FakeSocket.last.say(output(5));
    expect(heard).toEqual([1]);
    await vi.advanceTimersByTimeAsync(300);
    expect(heard).toEqual([1, 2, 3, 4, 5]);
  });

  it("sends no request when the socket closes the gap", async () => {
    FakeSocket.last.welcome();
    push.follow(5, 0);
    for (const seq of [2, 1, 3]) FakeSocket.last.say(output(seq));
    await vi.advanceTimersByTimeAsync(1000);
    expect(heard).toEqual([1, 2, 3]);
    expect(server.called("GET /deployments/5/events")).toHaveLength(0);
  });

  it("resumes after the cursor when the connection was lost, without gaps or duplicates", async () => {
    FakeSocket.last.welcome();
    push.follow(5, 0);
    [1, 2].forEach(seq => FakeSocket.last.say(output(seq)));
    happen(1, 2, 3, 4);
    FakeSocket.last.breakOff();
    await vi.advanceTimersByTimeAsync(600);
    FakeSocket.last.welcome();
    expect(FakeSocket.last.sent.at(-1)).toEqual({ subscribe: { deployment_id: 5, after: 2 } });
    [3, 4, 5].forEach(seq => FakeSocket.last.say(output(seq)));
    expect(heard).toEqual([1, 2, 3, 4, 5]);
  });

  it("resumes when the server reports that the client was too slow", () => {
    FakeSocket.last.welcome();
    push.follow(5, 0);
    FakeSocket.last.say(output(1));
    FakeSocket.last.say({ type: "resume", deployment_id: 5 });
    expect(FakeSocket.last.sent.at(-1)).toEqual({ subscribe: { deployment_id: 5, after: 1 } });
  });

  it("subscribes again when the server was temporarily unable to", async () => {
    FakeSocket.last.welcome();
    push.follow(5, 3);
    FakeSocket.last.sent.length = 0;
    FakeSocket.last.say({ type: "warning", detail: "The database cannot be reached.", code: "try_again" });
    await vi.advanceTimersByTimeAsync(2001);
    expect(FakeSocket.last.sent).toEqual([{ subscribe: { deployment_id: 5, after: 3 } }]);
  });

  it("unsubscribes when the last viewer leaves", () => {
    FakeSocket.last.welcome();
    const [first, second] = [push.follow(5, 0), push.follow(5, 0)];
    first();
    expect(FakeSocket.last.sent.at(-1)).toEqual({ subscribe: { deployment_id: 5, after: 0 } });
    second();
    expect(FakeSocket.last.sent.at(-1)).toEqual({ unsubscribe: { deployment_id: 5 } });
  });
});

describe("without a socket", () => {
  it("polls all pages of messages after the cursor", async () => {
    push.follow(5, 0);
    FakeSocket.last.breakOff();
    happen(1, 2, 3, 4, 5, 6, 7, 8);
    await vi.advanceTimersByTimeAsync(1600);
    expect(heard).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    happen(9);
    await vi.advanceTimersByTimeAsync(1600);
    expect(heard.at(-1)).toBe(9);
    expect(heard).toHaveLength(9);
  });

  it("shows that it is not live, and when it is again", async () => {
    expect(push.status).toBe("connecting");
    FakeSocket.last.breakOff();
    expect(push.status).toBe("polling");
    await vi.advanceTimersByTimeAsync(600);
    FakeSocket.last.welcome();
    expect(push.status).toBe("live");
  });

  it("shows that it is offline when the server does not respond", async () => {
    server.on("GET /deployments/5/events", () => "unreachable");
    push.follow(5, 0);
    FakeSocket.last.breakOff();
    await vi.advanceTimersByTimeAsync(1600);
    expect(push.status).toBe("offline");
  });

  it("stops polling once the socket is connected", async () => {
    push.follow(5, 0);
    FakeSocket.last.welcome();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(server.called("GET /deployments/5/events")).toHaveLength(0);
  });
});

describe("lists that may be stale", () => {
  it("are loaded again after a reconnection, not after the first connection", async () => {
    const load = vi.fn();
    push.onResync(load);
    FakeSocket.last.welcome();
    expect(load).not.toHaveBeenCalled();
    FakeSocket.last.breakOff();
    await vi.advanceTimersByTimeAsync(600);
    FakeSocket.last.welcome();
    expect(load).toHaveBeenCalledTimes(1);
  });

  it("are loaded regularly while there is no socket, until the last subscriber leaves", async () => {
    const load = vi.fn();
    const { off } = push.onResync(load);
    FakeSocket.last.breakOff();
    await vi.advanceTimersByTimeAsync(9_100);
    expect(load.mock.calls.length).toBeGreaterThanOrEqual(2);
    const before = load.mock.calls.length;
    off();
    await vi.advanceTimersByTimeAsync(9_000);
    expect(load).toHaveBeenCalledTimes(before);
  });
});

describe("messages of deployments that are not followed", () => {
  it("are passed to the remaining subscribers as they arrive", () => {
    FakeSocket.last.welcome();
    const others: number[] = [];
    const end = push.on("output", message => others.push(message.seq));
    FakeSocket.last.say(output(9, 6));
    end();
    FakeSocket.last.say(output(4, 6));
    expect(heard).toEqual([9, 4]);
    expect(others).toEqual([9]);
  });
});
