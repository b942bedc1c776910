import { onScopeDispose } from "vue";
import { ApiError } from "@/api/errors";
import { usePushStore } from "@/stores/push";

/** Calls `load` whenever what it loads may be stale; a failure leaves what is shown, the connection's sign tells. */
export function useResync(load: () => Promise<unknown>): void {
  const push = usePushStore();
  onScopeDispose(push.onResync(() => {
    load().catch((error: unknown) => {
      if (!(error instanceof ApiError)) throw error;
    });
  }));
}
