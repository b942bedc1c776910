import { vi } from "vitest";

export interface Call {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: Headers;
  body: unknown;
}

type Answer = { status?: number; json?: unknown } | "unreachable";
type Handler = (call: Call) => Answer;

/** Fake network: responds by `METHOD path` and records requests. */
export class FakeServer {
  readonly calls: Call[] = [];
  readonly #handlers = new Map<string, Handler>();

  constructor() {
    vi.stubGlobal("fetch", (request: Request) => this.#answer(request));
  }

  on(route: string, handler: Handler): this {
    this.#handlers.set(route, handler);
    return this;
  }

  json(route: string, json: unknown, status = 200): this {
    return this.on(route, () => ({ json, status }));
  }

  called(route: string): Call[] {
    return this.calls.filter(call => `${call.method} ${call.path}` === route);
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const text = await request.text();
    const call: Call = {
      method: request.method,
      path: pathname,
      query: searchParams,
      headers: request.headers,
      body: text ? JSON.parse(text) : undefined,
    };
    this.calls.push(call);
    const handler = this.#handlers.get(`${call.method} ${call.path}`);
    if (!handler) throw new Error(`No handler for ${call.method} ${call.path}`);
    const answer = handler(call);
    if (answer === "unreachable") throw new TypeError("Failed to fetch");
    const { status = 200, json } = answer;
    const body = status === 204 ? null : JSON.stringify(json ?? {});
    return new Response(body, { status, headers: { "Content-Type": "application/json" } });
  }
}

/** Fake WebSocket; the test acts as the server. */
export class FakeSocket {
  static opened: FakeSocket[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: (() => void) | null = null;
  readonly sent: Record<string, unknown>[] = [];
  closed = false;

  constructor(readonly url: string) {
    FakeSocket.opened.push(this);
  }

  static install(): typeof FakeSocket {
    FakeSocket.opened = [];
    vi.stubGlobal("WebSocket", FakeSocket);
    return FakeSocket;
  }

  static get last(): FakeSocket {
    const socket = FakeSocket.opened.at(-1);
    if (!socket) throw new Error("No socket has been opened");
    return socket;
  }

  send(frame: string): void {
    this.sent.push(JSON.parse(frame) as Record<string, unknown>);
  }

  close(): void {
    this.closed = true;
  }

  open(): void {
    this.onopen?.();
  }

  say(message: unknown): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  /** Opens the connection and authenticates the client. */
  welcome(): void {
    this.open();
    this.say({ type: "authentication", status: "success" });
  }

  breakOff(): void {
    this.onclose?.();
  }
}
