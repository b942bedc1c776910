import { useIntervalFn, useTimestamp } from "@vueuse/core";
import { computed, type Ref } from "vue";
import { useSessionStore } from "@/stores/session";

/** The server's current time in milliseconds, updated every `interval` milliseconds. */
export function useNow(interval: number): Readonly<Ref<number>> {
  const session = useSessionStore();
  const now = useTimestamp({ scheduler: update => useIntervalFn(update, interval) });
  return computed(() => now.value + session.clockOffset);
}
