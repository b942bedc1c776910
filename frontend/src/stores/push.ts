import { createEventHook } from "@vueuse/core";
import { defineStore } from "pinia";
import { computed, ref, toRef, watch } from "vue";
import { isDeploymentEvent, type ServerMessage } from "@/api/messages";
import { useFollows } from "@/composables/useFollows";
import { useSocket } from "@/composables/useSocket";
import { MessageBus } from "@/lib/messageBus";
import { randomId } from "@/lib/random";
import { useSessionStore } from "./session";

export type PushStatus = "live" | "connecting" | "polling" | "offline";

const POLL_MS = 1500;
/** Poll snapshots of whole lists every third round. */
const RESYNC_ROUNDS = 3;

/** Delay before subscribing again if the database was unavailable. */
const RESUBSCRIBE_MS = 2000;

function socketUrl(): string {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return `${scheme}//${location.host}/deployments/ws/${randomId()}`;
}

/**
 * Delivers all changes, in order per deployment and exactly once: from the socket, or by polling while there is no
 * connection. A followed deployment has a cursor; messages missing after it are fetched.
 */
export const usePushStore = defineStore("push", () => {
  const session = useSessionStore();
  const bus = new MessageBus();
  /**
   * Triggered whenever lists may be stale: after each (re)connection, after a change of the user's rights, and
   * regularly without a socket.
   */
  const resync = createEventHook();
  const started = ref(false);
  const everLive = ref(false);
  let pollTimer: ReturnType<typeof setTimeout> | undefined;
  let round = 0;

  const socket = useSocket({
    url: socketUrl, token: toRef(session, "token"), renew: () => session.renew(), receive, probe: () => session.probe(),
  });
  const follows = useFollows({
    api: session.api, send: socket.send, emit: messages => messages.forEach(message => bus.emit(message)),
  });
  const live = computed(() => socket.status.value === "live");
  const status = computed<PushStatus>(() => {
    if (live.value) return "live";
    if (!session.reachable) return "offline";
    return socket.status.value === "connecting" && !everLive.value ? "connecting" : "polling";
  });

  function receive(message: ServerMessage): void {
    if (message.type === "resume") follows.subscribe(message.deployment_id);
    else if (message.type === "warning" && message.code === "try_again") setTimeout(follows.subscribeAll, RESUBSCRIBE_MS);
    else if (!isDeploymentEvent(message) || !follows.take(message)) bus.emit(message);
    if (message.type === "rights") void resync.trigger();
  }

  async function poll(): Promise<void> {
    if (!live.value && session.signedIn && document.visibilityState === "visible") {
      round += 1;
      await follows.catchUpAll();
      if (round % RESYNC_ROUNDS === 0) void resync.trigger();
    }
    if (started.value) pollTimer = setTimeout(() => void poll(), POLL_MS);
  }

  watch(live, (isLive) => {
    if (!isLive) return;
    const snapshotsAreOlder = everLive.value || round > 0;
    everLive.value = true;
    round = 0;
    follows.subscribeAll();
    if (snapshotsAreOlder) void resync.trigger();
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

  return { status, live, start, stop, follow: follows.follow, onResync: resync.on, on: bus.on.bind(bus) };
});
