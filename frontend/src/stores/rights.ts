import { useTimeoutFn } from "@vueuse/core";
import { defineStore } from "pinia";
import { computed, ref, shallowRef, watch } from "vue";
import { ApiError, call } from "@/api/errors";
import type { Permission, Rights, Token } from "@/api/types";
import { includes } from "@/lib/permissions";
import { usePushStore } from "./push";
import { useSessionStore } from "./session";

/** Messages about services within this time are combined into one request. */
const SETTLE_MS = 250;

/** What the signed-in user can do. The page offers nothing else; the server checks every request anyway. */
export const useRightsStore = defineStore("rights", () => {
  const session = useSessionStore();
  const push = usePushStore();
  const rights = shallowRef<Rights | null>(null);
  /** True after the first attempt to load them, even if it failed. */
  const settled = ref(false);
  let newest = 0;

  const loaded = computed(() => rights.value !== null);
  const isAdmin = computed(() => rights.value?.is_admin ?? session.isAdmin);
  const canSync = computed(() => isAdmin.value || (rights.value?.can_sync ?? false));
  const byService = computed(() => new Map(rights.value?.services.map(service => [service.id, service])));

  /** Returns true for a permission on a service in an environment; without one, in all of them. */
  function allows(needed: Permission, serviceId: number, environment = ""): boolean {
    if (isAdmin.value) return true;
    const service = byService.value.get(serviceId);
    return includes(service?.permission, needed) || includes(service?.environments[environment], needed);
  }

  /** Returns true if the user has a permission on at least one service. */
  function allowsAnywhere(needed: Permission): boolean {
    return isAdmin.value || (rights.value?.services ?? []).some(({ permission }) => includes(permission, needed));
  }

  /** A service is visible as soon as the user can view it in one environment. */
  function canView(serviceId: number, environment?: string): boolean {
    if (environment === undefined) return isAdmin.value || byService.value.has(serviceId);
    return allows("view", serviceId, environment);
  }

  const canDeploy = (serviceId: number, environment?: string) => allows("deploy", serviceId, environment);
  const canManage = (serviceId: number, environment?: string) => allows("manage", serviceId, environment);
  const canDeployAny = computed(() => allowsAnywhere("deploy"));
  const canManageAny = computed(() => allowsAnywhere("manage"));

  /** Creators can always revoke their tokens. */
  function canRevoke(token: Pick<Token, "user" | "service">): boolean {
    if (isAdmin.value || token.user === session.user?.name) return true;
    return [...byService.value.values()]
      .some(({ name, permission }) => name === token.service && includes(permission, "manage"));
  }

  async function load(): Promise<void> {
    const current = ++newest;
    try {
      const answer = await call(session.api.GET("/users/me/rights"));
      if (current === newest) rights.value = answer;
    } catch (error) {
      // Keep the old ones. They are loaded again with the next resync.
      if (!(error instanceof ApiError)) throw error;
    } finally {
      if (current === newest) settled.value = true;
    }
  }

  function forget(): void {
    newest += 1;
    rights.value = null;
    settled.value = false;
  }

  watch(() => session.signedIn ? session.user?.id : undefined, (id) => {
    forget();
    if (id !== undefined) void load();
  }, { immediate: true, flush: "sync" });

  push.onResync(load);
  // A new service, or other tags of a service, can add to the rights of grants that name neither.
  const settling = useTimeoutFn(() => void load(), SETTLE_MS, { immediate: false });
  push.on("service", () => {
    if (!settling.isPending.value) settling.start();
  });

  return {
    rights, loaded, settled, isAdmin, canSync, canView, canDeploy, canManage, canDeployAny, canManageAny, canRevoke,
    load,
  };
});
