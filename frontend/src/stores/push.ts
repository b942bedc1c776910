import { defineStore } from "pinia";
import { computed, ref, toRef, watch } from "vue";
import { ApiError, call } from "@/api/errors";
import { isDeploymentEvent, type DeploymentEvent, type ServerMessage } from "@/api/messages";
import { useSocket } from "@/composables/useSocket";
import { MessageFan } from "@/lib/bus";
import { mergeBySeq, mergePage, startSequence, type Merged, type Sequence } from "@/lib/merge";
import { randomId } from "@/lib/random";
import { useSessionStore } from "./session";

export type PushStatus = "live" | "connecting" | "polling" | "offline";

interface Follow {
  readers: number;
  sequence: Sequence<DeploymentEvent>;
  fetching: boolean;
  gapTimer?: ReturnType<typeof setTimeout>;
}

const EVENTS_PER_PAGE = 1000;
const POLL_MS = 1500;
/** Snapshots of whole lists are polled at every third round. */
const RESYNC_ROUNDS = 3;
/** A gap that the socket's own replay closes in this time needs no request. */
const GAP_PATIENCE_MS = 200;

function socketUrl(): string {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return `${scheme}//${location.host}/deployments/ws/${randomId()}`;
}

/**
 * Everything that is told about changes comes through here, in order per deployment, each once: from the socket, or,
 * when it cannot be had, by asking. A followed deployment keeps a cursor; whatever is missing is fetched after it.
 */
export const usePushStore = defineStore("push", () => {
  const session = useSessionStore();
  const fan = new MessageFan();
  const resyncs = new Set<() => void>();
  const follows = new Map<number, Follow>();
  const started = ref(false);
  const everLive = ref(false);
  let pollTimer: ReturnType<typeof setTimeout> | undefined;
  let round = 0;

  const socket = useSocket({
    url: socketUrl, token: toRef(session, "token"), renew: () => session.renew(), receive,
  });
  const live = computed(() => socket.status.value === "live");
  const status = computed<PushStatus>(() => {
    if (live.value) return "live";
    if (!session.reachable) return "offline";
    return socket.status.value === "connecting" && !everLive.value ? "connecting" : "polling";
  });

  function emit(messages: readonly ServerMessage[]): void {
    for (const message of messages) fan.emit(message);
  }

  function receive(message: ServerMessage): void {
    if (message.type === "resume") return subscribe(message.deployment_id);
    if (!isDeploymentEvent(message)) return emit([message]);
    const follow = follows.get(message.deployment_id);
    if (!follow) return emit([message]);
    accept(message.deployment_id, follow, mergeBySeq(follow.sequence, [message]));
  }

  function accept(id: number, follow: Follow, merged: Merged<DeploymentEvent>): void {
    follow.sequence = merged.sequence;
    emit(merged.ready);
    clearTimeout(follow.gapTimer);
    if (merged.gap) follow.gapTimer = setTimeout(() => void catchUp(id), GAP_PATIENCE_MS);
  }

  /** Fetches what came after the cursor, page by page. Errors only mean that the next round tries again. */
  async function catchUp(id: number): Promise<void> {
    const follow = follows.get(id);
    if (!follow || follow.fetching) return;
    follow.fetching = true;
    try {
      for (let more = true; more && follows.get(id) === follow;) more = await fetchPage(id, follow);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    } finally {
      follow.fetching = false;
    }
  }

  async function fetchPage(id: number, follow: Follow): Promise<boolean> {
    const after = follow.sequence.cursor;
    const page = await call(session.api.GET("/deployments/{deployment_id}/events", {
      params: { path: { deployment_id: id }, query: { after, limit: EVENTS_PER_PAGE } },
    }));
    const events = page.events as unknown as DeploymentEvent[];
    const last = events.at(-1)?.seq ?? after;
    // With more to come the page is complete up to its last event; the last page, up to what the server has.
    const upTo = page.more ? last : Math.max(last, page.last_seq);
    accept(id, follow, mergePage(follow.sequence, { after, upTo, events }));
    return page.more && events.length > 0;
  }

  function subscribe(id: number): void {
    const follow = follows.get(id);
    if (follow) socket.send({ subscribe: { deployment_id: id, after: follow.sequence.cursor } });
  }

  /** From now on every message of the deployment after `after` is emitted, in order. Returns the function that ends it. */
  function follow(id: number, after: number): () => void {
    const known = follows.get(id);
    if (known) known.readers += 1;
    else follows.set(id, { readers: 1, sequence: startSequence(after), fetching: false });
    if (!known) subscribe(id);
    return () => unfollow(id);
  }

  function unfollow(id: number): void {
    const follow = follows.get(id);
    if (!follow) return;
    follow.readers -= 1;
    if (follow.readers > 0) return;
    clearTimeout(follow.gapTimer);
    follows.delete(id);
    socket.send({ unsubscribe: { deployment_id: id } });
  }

  /** Calls back whenever a list may be stale: after each (re)connection, and regularly while there is no socket. */
  function onResync(handler: () => void): () => void {
    resyncs.add(handler);
    return () => resyncs.delete(handler);
  }

  function resync(): void {
    for (const handler of [...resyncs]) handler();
  }

  async function poll(): Promise<void> {
    if (!live.value && session.signedIn && document.visibilityState === "visible") {
      round += 1;
      await Promise.all([...follows.keys()].map(catchUp));
      if (round % RESYNC_ROUNDS === 0) resync();
    }
    if (started.value) pollTimer = setTimeout(() => void poll(), POLL_MS);
  }

  watch(live, isLive => {
    if (!isLive) return;
    const again = everLive.value;
    everLive.value = true;
    for (const id of follows.keys()) subscribe(id);
    if (again || round > 0) resync();
  }, { flush: "sync" });

  function start(): void {
    if (started.value) return;
    started.value = true;
    socket.open();
    pollTimer = setTimeout(() => void poll(), POLL_MS);
  }

  function stop(): void {
    started.value = false;
    clearTimeout(pollTimer);
    socket.close();
    everLive.value = false;
  }

  return { status, live, start, stop, follow, onResync, on: fan.on.bind(fan) };
});
