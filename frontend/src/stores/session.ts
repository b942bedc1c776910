import { promiseTimeout } from "@vueuse/core";
import { defineStore } from "pinia";
import { computed, markRaw, ref } from "vue";
import { createApi } from "@/api/client";
import { ApiError, call } from "@/api/errors";
import type { Session, User } from "@/api/types";

export type SessionState = "restoring" | "unreachable" | "signed-out" | "signed-in";

const RETRY_MS = 3000;
/** Smaller differences between the clocks can come from rounding: the server sends whole seconds. */
const CLOCK_SLACK_MS = 2000;
/** Timeout for checking whether the server can be reached. */
const PROBE_MS = 4000;
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

  /** Why the session ended, if the user did not end it here. */
  const ended = ref<"expired" | "elsewhere" | null>(null);
  const reachable = ref(true);
  /** Milliseconds by which the server's clock is ahead of the browser's. All times that are shown are the server's. */
  const clockOffset = ref(0);

  function reached(answered: boolean, serverTime = NaN): void {
    reachable.value = answered;
    const offset = serverTime - Date.now();
    if (!Number.isNaN(offset)) clockOffset.value = Math.abs(offset) > CLOCK_SLACK_MS ? offset : 0;
  }

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

  function forget(why: typeof ended.value = null): void {
    clearTimeout(timer);
    ended.value = why;
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
      if (error instanceof ApiError && error.status === 401) forget(signedIn.value ? "expired" : null);
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

  /** Returns true if the server answers, whatever it answers. */
  async function probe(): Promise<boolean> {
    try {
      await fetch("/health/live", { cache: "no-store", signal: AbortSignal.timeout(PROBE_MS) });
      reached(true);
    } catch {
      reached(false);
    }
    return reachable.value;
  }

  async function loadUser(): Promise<void> {
    user.value = await call(api.GET("/users/me"));
    ended.value = null;
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

  const status = { token, user, state, ended, reachable, clockOffset, signedIn, isAdmin };
  return { api, ...status, probe, renew, restore, signIn, signOut, forget };
});
