import { useIntervalFn, useTimeoutFn } from "@vueuse/core";
import { onScopeDispose } from "vue";
import { ApiError } from "@/api/errors";
import { usePushStore } from "@/stores/push";
import { useQueueStore } from "@/stores/queue";
import { useProblem } from "./useProblem";
import { useResync } from "./useResync";

/** Changes within this time are combined into one request. */
const SETTLE_MS = 250;
/** Messages do not carry a worker's last heartbeat, so it is polled. */
const REFRESH_MS = 5000;

/** The queue, reloaded whenever a deployment is created, starts, or ends. */
export function useQueue() {
  const queue = useQueueStore();
  const push = usePushStore();
  const { problem, attempt } = useProblem();

  function refresh(): void {
    if (document.visibilityState === "hidden") return;
    queue.load().then(() => { problem.value = null; }, (error: unknown) => {
      if (!(error instanceof ApiError)) throw error;
    });
  }

  const settling = useTimeoutFn(refresh, SETTLE_MS, { immediate: false });
  useIntervalFn(refresh, REFRESH_MS);
  onScopeDispose(push.on("deployment", () => {
    if (!settling.isPending.value) settling.start();
  }));
  useResync(queue.load);
  const open = () => attempt(queue.load);
  void open();
  const next = () => attempt(queue.next);
  const previous = () => attempt(queue.previous);
  return { queue, problem, open, next, previous };
}
