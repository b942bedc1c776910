import { onScopeDispose, ref, type Ref } from "vue";

/** The current time in milliseconds, updated every `interval` milliseconds. */
export function useNow(interval: number): Readonly<Ref<number>> {
  const now = ref(Date.now());
  const timer = setInterval(() => { now.value = Date.now(); }, interval);
  onScopeDispose(() => clearInterval(timer));
  return now;
}
