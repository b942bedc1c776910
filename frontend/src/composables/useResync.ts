import { ApiError } from "@/api/errors";
import { usePushStore } from "@/stores/push";

/** Calls `load` whenever its data may be stale. A failure keeps the old data; the live indicator shows the outage. */
export function useResync(load: () => Promise<unknown>): void {
  const push = usePushStore();
  push.onResync(() => {
    load().catch((error: unknown) => {
      if (!(error instanceof ApiError)) throw error;
    });
  });
}
