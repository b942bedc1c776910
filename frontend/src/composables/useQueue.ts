import { onScopeDispose } from "vue";
import { ApiError } from "@/api/errors";
import { usePushStore } from "@/stores/push";
import { useQueueStore } from "@/stores/queue";
import { useProblem } from "./useProblem";
import { useResync } from "./useResync";

/** Several changes that come together are asked about once. */
const SETTLE_MS = 250;
/** When a worker was last seen is told by no message. */
const REFRESH_MS = 5000;

/** The queue, loaded again whenever a deployment comes, starts or ends. */
export function useQueue() {
  const queue = useQueueStore();
  const push = usePushStore();
  const { problem, attempt } = useProblem();
  let settling: ReturnType<typeof setTimeout> | undefined;

  function refresh(): void {
    settling = undefined;
    if (document.visibilityState === "hidden") return;
    queue.load().then(() => { problem.value = null; }, (error: unknown) => {
      if (!(error instanceof ApiError)) throw error;
    });
  }

  function refreshSoon(): void {
    settling ??= setTimeout(refresh, SETTLE_MS);
  }

  const timer = setInterval(refresh, REFRESH_MS);
  onScopeDispose(push.on("deployment", refreshSoon));
  onScopeDispose(() => {
    clearInterval(timer);
    clearTimeout(settling);
  });
  useResync(queue.load);
  const open = () => attempt(queue.load);
  void open();
  return { queue, problem, open };
}
