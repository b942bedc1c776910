import { onScopeDispose, readonly, ref, watch, type Ref } from "vue";
import { usePushStore, type PushStatus } from "@/stores/push";

/** A connection that is back sooner was never worth a word. */
const CALM_MS = 2000;

/** How live the page is, as it is told to the reader: trouble only once it lasts; null until anything is known. */
export function useLiveStatus(): Readonly<Ref<PushStatus | null>> {
  const push = usePushStore();
  const shown = ref<PushStatus | null>(null);
  let timer: ReturnType<typeof setTimeout> | undefined;

  watch(() => push.status, (status) => {
    const calm = shown.value === null || shown.value === "live";
    clearTimeout(timer);
    if (status === "live" || !calm) shown.value = status;
    else timer = setTimeout(() => { shown.value = push.status; }, CALM_MS);
  }, { immediate: true });
  onScopeDispose(() => clearTimeout(timer));
  return readonly(shown);
}
