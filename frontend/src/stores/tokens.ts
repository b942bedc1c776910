import { defineStore } from "pinia";
import { ref } from "vue";
import { call } from "@/api/errors";
import type { Token } from "@/api/types";
import { useSessionStore } from "./session";

export interface TokenRequest {
  kind: Token["kind"];
  service: string;
  origin: string;
  days: number;
}

export type TokenState = "active" | "expired" | "revoked";

export function tokenState(token: Token, now: number): TokenState {
  if (token.revoked !== null) return "revoked";
  return Date.parse(token.expires) <= now ? "expired" : "active";
}

/** The existing tokens. Their values are returned only by `create`. */
export const useTokensStore = defineStore("tokens", () => {
  const session = useSessionStore();
  const list = ref<Token[]>([]);
  const loaded = ref(false);

  async function load(): Promise<void> {
    list.value = await call(session.api.GET("/tokens/"));
    loaded.value = true;
  }

  async function createService({ service, origin, days }: TokenRequest): Promise<string> {
    const body = { service, origin, expiration_in_days: days };
    return (await call(session.api.POST("/service-token", { body }))).service_token;
  }

  async function createConfig({ origin, days }: TokenRequest): Promise<string> {
    const body = { origin: origin || "config", expiration_in_days: days };
    return (await call(session.api.POST("/config-token", { body }))).config_token;
  }

  /** Creates a token and returns its value, which cannot be retrieved again. */
  async function create(request: TokenRequest): Promise<string> {
    const value = await (request.kind === "service" ? createService(request) : createConfig(request));
    await load();
    return value;
  }

  async function revoke(id: string): Promise<void> {
    await call(session.api.DELETE("/tokens/{token_id}", { params: { path: { token_id: id } } }));
    await load();
  }

  return { list, loaded, load, create, revoke };
});
