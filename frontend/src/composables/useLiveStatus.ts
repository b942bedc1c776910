import { useTimeoutFn } from "@vueuse/core";
import { readonly, ref, watch, type Ref } from "vue";
import { usePushStore, type PushStatus } from "@/stores/push";

/** Shorter interruptions are not shown. */
const CALM_MS = 2000;

/** Connection status as shown to the user: problems appear only once they last; null until known. */
export function useLiveStatus(): Readonly<Ref<PushStatus | null>> {
  const push = usePushStore();
  const shown = ref<PushStatus | null>(null);
  const { start, stop } = useTimeoutFn(() => { shown.value = push.status; }, CALM_MS, { immediate: false });

  watch(() => push.status, (status) => {
    const calm = shown.value === null || shown.value === "live";
    stop();
    if (status === "live" || !calm) shown.value = status;
    else start();
  }, { immediate: true });
  return readonly(shown);
}
