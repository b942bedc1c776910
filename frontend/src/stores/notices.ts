import { defineStore } from "pinia";
import { ref } from "vue";

export interface Toast {
  id: number;
  kind: "info" | "success" | "failure";
  text: string;
}

const TOAST_MS = 7000;

/** Short messages to the reader: toasts, and sentences that only screen readers get. */
export const useNoticesStore = defineStore("notices", () => {
  const toasts = ref<Toast[]>([]);
  const announcement = ref("");
  let nextId = 1;

  function dismiss(id: number): void {
    toasts.value = toasts.value.filter(toast => toast.id !== id);
  }

  function show(text: string, kind: Toast["kind"] = "info"): void {
    const id = nextId++;
    toasts.value.push({ id, kind, text });
    // A failure stays until it has been read.
    if (kind !== "failure") setTimeout(() => dismiss(id), TOAST_MS);
  }

  /** Has a screen reader say the sentence at its next pause. */
  function announce(text: string): void {
    announcement.value = text;
  }

  return { toasts, announcement, show, dismiss, announce };
});
