import { useIntervalFn, useTimestamp } from "@vueuse/core";
import type { Ref } from "vue";

/** The current time in milliseconds, updated every `interval` milliseconds. */
export function useNow(interval: number): Readonly<Ref<number>> {
  return useTimestamp({ scheduler: update => useIntervalFn(update, interval) });
}
