import { defineStore } from "pinia";
import { ref, watch } from "vue";
import { randomId } from "@/lib/random";
import type { ExtraValue } from "@/lib/extraValues";
import { useSessionStore } from "./session";

/** Values entered for the next deployment of a service but not sent yet. */
export interface Draft {
  values: Record<string, unknown>;
  extraValues: ExtraValue[];
  /** Idempotency key: sending the same draft again never starts a second deployment. */
  key: string;
}

function blank(): Draft {
  return { values: {}, extraValues: [{ row: 1, key: "", value: "" }], key: randomId() };
}

/** In memory only, including secrets: survives closing the dialog, but not a reload. */
export const useDraftsStore = defineStore("drafts", () => {
  const session = useSessionStore();
  const byService = ref<Record<number, Draft>>({});

  function of(serviceId: number): Draft {
    return byService.value[serviceId] ?? blank();
  }

  function open(serviceId: number): void {
    byService.value[serviceId] ??= blank();
  }

  /** Each change is a new request, so it gets a new key. */
  function change(serviceId: number, fields: Partial<Omit<Draft, "key">>): void {
    byService.value[serviceId] = { ...of(serviceId), ...fields, key: randomId() };
  }

  function drop(serviceId: number): void {
    byService.value[serviceId] = blank();
  }

  watch(() => session.signedIn, (signedIn) => {
    if (!signedIn) byService.value = {};
  });

  return { of, open, change, drop };
});
