import { useEventListener } from "@vueuse/core";
import { onScopeDispose, ref, watch, type Ref } from "vue";
import { parseMessage, type ClientMessage, type ServerMessage } from "@/api/messages";
import { backoffDelay } from "@/lib/backoff";

export type SocketStatus = "off" | "connecting" | "live" | "waiting";

export interface SocketOptions {
  url: () => string;
  token: Readonly<Ref<string | null>>;
  /** Requests a new token; the socket watches `token` and sends it. */
  renew: () => Promise<boolean>;
  receive: (message: ServerMessage) => void;
  /** Checks with a short request whether the server can be reached. */
  probe: () => Promise<boolean>;
}

/** The server sends a ping every 20 s; after this long without a message, the connection may be dead. */
const SILENCE_MS = 22_000;
/** Timeout for connecting and authenticating. */
const HANDSHAKE_MS = 10_000;

/**
 * A persistent connection: authenticates, watches the heartbeat, reconnects with backoff, and re-authenticates
 * on the open connection whenever the token changes. It knows nothing of deployments.
 */
export function useSocket(options: SocketOptions) {
  const status = ref<SocketStatus>("off");
  let socket: WebSocket | null = null;
  let attempt = 0;
  let wanted = false;
  let refused = false;
  let watchdog: ReturnType<typeof setTimeout> | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;

  function send(message: ClientMessage): boolean {
    if (status.value !== "live" || socket === null) return false;
    socket.send(JSON.stringify(message));
    return true;
  }

  function expectMessage(within: number): void {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => lost(), within);
  }

  /** A dead connection looks like a silent one; a request tells them apart. */
  async function verify(): Promise<void> {
    const checked = socket;
    if (checked === null || status.value !== "live") return;
    const reached = await options.probe();
    if (checked === socket && !reached) lost();
  }

  function onSilence(): void {
    // A server that answers but sends no ping anymore has lost the connection.
    watchdog = setTimeout(() => lost(), SILENCE_MS);
    void verify();
  }

  function connect(): void {
    clearTimeout(retry);
    const { value: token } = options.token;
    if (!wanted || socket !== null || token === null) return;
    status.value = "connecting";
    const opened = new WebSocket(options.url());
    socket = opened;
    expectMessage(HANDSHAKE_MS);
    opened.onopen = () => opened.send(JSON.stringify({ access_token: options.token.value }));
    opened.onmessage = event => opened === socket && onFrame(String(event.data));
    opened.onclose = () => opened === socket && lost();
  }

  function onFrame(frame: string): void {
    clearTimeout(watchdog);
    watchdog = setTimeout(onSilence, SILENCE_MS);
    const message = parseMessage(frame);
    if (message === null) return;
    if (message.type === "authentication") authenticated(message.status === "success");
    if (message.type === "warning" && message.code === "token_expires") void options.renew();
    options.receive(message);
  }

  function authenticated(success: boolean): void {
    // A rejected token leaves an authenticated connection unchanged.
    if (!success && status.value === "live") return;
    if (success) {
      attempt = 0;
      refused = false;
      status.value = "live";
      return;
    }
    // Renew a rejected token once; the watcher reconnects with the new one.
    const first = !refused;
    refused = true;
    lost();
    if (first) void options.renew();
  }

  function drop(): void {
    clearTimeout(watchdog);
    const dropped = socket;
    socket = null;
    dropped?.close();
  }

  function lost(): void {
    drop();
    if (!wanted) return;
    status.value = "waiting";
    clearTimeout(retry);
    retry = setTimeout(connect, backoffDelay(attempt));
    attempt += 1;
  }

  function open(): void {
    wanted = true;
    connect();
  }

  function close(): void {
    wanted = false;
    clearTimeout(retry);
    drop();
    status.value = "off";
  }

  /** The network or the user is back, so check the connection, or skip the rest of the backoff. */
  function reconnectNow(): void {
    if (document.visibilityState !== "visible") return;
    if (status.value === "waiting") connect();
    else void verify();
  }

  watch(options.token, (token) => {
    if (token === null) return;
    if (!send({ access_token: token })) connect();
  }, { flush: "sync" });

  useEventListener(window, "online", reconnectNow);
  useEventListener(window, "offline", () => void verify());
  useEventListener(document, "visibilitychange", reconnectNow);
  onScopeDispose(close);

  return { status, send, open, close };
}
