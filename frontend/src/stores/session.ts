import { promiseTimeout } from "@vueuse/core";
import { defineStore } from "pinia";
import { computed, markRaw, ref } from "vue";
import { createApi } from "@/api/client";
import { ApiError, call } from "@/api/errors";
import type { Session, User } from "@/api/types";

export type SessionState = "restoring" | "unreachable" | "signed-out" | "signed-in";

const RETRY_MS = 3000;
/** Other sites cannot make a browser send this header, so the cookie alone is not enough. */
const REFRESH_HEADER = { "X-Requested-With": "fastdeploy" };

/** Renew one minute before expiry, or halfway through a shorter lifetime. */
function renewalDelay(expiresIn: number): number {
  return Math.max(expiresIn - 60, expiresIn / 2) * 1000;
}

/**
 * The signed-in user. The access token is kept in memory only; the HttpOnly cookie, which scripts cannot
 * read, provides a fresh one after a reload and before the old one expires.
 */
export const useSessionStore = defineStore("session", () => {
  const token = ref<string | null>(null);
  const user = ref<User | null>(null);
  const state = ref<SessionState>("restoring");
  const signedIn = computed(() => state.value === "signed-in");
  const isAdmin = computed(() => user.value?.is_admin ?? false);

  const reachable = ref(true);
  const reached = (answered: boolean) => { reachable.value = answered; };
  const api = markRaw(createApi({ token: () => token.value, renew, reached }));
  const anonymous = createApi({ token: () => null, renew: () => Promise.resolve(false), reached });
  let timer: ReturnType<typeof setTimeout> | undefined;
  let renewing: Promise<boolean> | null = null;
  let restoring: Promise<void> | null = null;

  function accept(session: Session): void {
    token.value = session.access_token;
    schedule(renewalDelay(session.expires_in));
  }

  function schedule(delay: number): void {
    clearTimeout(timer);
    timer = setTimeout(() => void renew(), delay);
  }

  function forget(): void {
    clearTimeout(timer);
    token.value = null;
    user.value = null;
    state.value = "signed-out";
  }

  async function refresh(): Promise<void> {
    accept(await call(anonymous.POST("/session/refresh", { params: { header: REFRESH_HEADER } })));
  }

  async function tryRenew(): Promise<boolean> {
    try {
      await refresh();
      return true;
    } catch (error) {
      // Only a rejection ends the session; a server restart must not sign users out.
      if (error instanceof ApiError && error.status === 401) forget();
      else schedule(RETRY_MS);
      return false;
    } finally {
      renewing = null;
    }
  }

  /** Gets a new access token, shared by concurrent callers; returns false if there is none. */
  function renew(): Promise<boolean> {
    renewing ??= tryRenew();
    return renewing;
  }

  async function loadUser(): Promise<void> {
    user.value = await call(api.GET("/users/me"));
    state.value = "signed-in";
  }

  async function tryRestore(): Promise<void> {
    for (;;) {
      try {
        await refresh();
        await loadUser();
        return;
      } catch (error) {
        if (error instanceof ApiError && error.status !== 0 && error.status < 500) return forget();
        state.value = "unreachable";
        await promiseTimeout(RETRY_MS);
      }
    }
  }

  /** Checks once whether the browser has a session; waits while the server is unreachable. */
  function restore(): Promise<void> {
    restoring ??= tryRestore();
    return restoring;
  }

  async function signIn(username: string, password: string): Promise<void> {
    accept(await call(anonymous.POST("/session", { body: { username, password } })));
    await loadUser();
  }

  async function signOut(): Promise<void> {
    try {
      await call(anonymous.DELETE("/session"));
    } finally {
      forget();
    }
  }

  return { api, token, user, state, reachable, signedIn, isAdmin, renew, restore, signIn, signOut, forget };
});
