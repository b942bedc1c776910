import { defineStore } from "pinia";
import { ref } from "vue";
import type { RouteLocationRaw } from "vue-router";

export interface Toast {
  id: number;
  kind: "info" | "success" | "failure";
  text: string;
  /** Where to read more. */
  link?: ToastLink;
}

export interface ToastLink {
  to: RouteLocationRaw;
  text: string;
}

const TOAST_MS = 7000;
/** More at once would hide the page; the oldest go. */
const AT_ONCE = 3;

/** Short messages to the reader: toasts, and sentences that only screen readers get. */
export const useNoticesStore = defineStore("notices", () => {
  const toasts = ref<Toast[]>([]);
  const announcement = ref("");
  const timers = new Map<number, ReturnType<typeof setTimeout>>();
  let nextId = 1;

  function dismiss(id: number): void {
    clearTimeout(timers.get(id));
    timers.delete(id);
    toasts.value = toasts.value.filter(toast => toast.id !== id);
  }

  /** A failure stays until it has been read. */
  function expireLater({ id, kind }: Toast): void {
    if (kind !== "failure") timers.set(id, setTimeout(() => dismiss(id), TOAST_MS));
  }

  function show(text: string, kind: Toast["kind"] = "info", link?: ToastLink): void {
    const toast: Toast = { id: nextId++, kind, text, link };
    for (const { id } of toasts.value.slice(0, Math.max(0, toasts.value.length + 1 - AT_ONCE))) dismiss(id);
    toasts.value.push(toast);
    expireLater(toast);
  }

  /** While somebody points at the toasts they stay; afterwards they have their time again. */
  function hold(held: boolean): void {
    for (const timer of timers.values()) clearTimeout(timer);
    timers.clear();
    if (!held) toasts.value.forEach(expireLater);
  }

  /** Has a screen reader say the sentence at its next pause. */
  function announce(text: string): void {
    announcement.value = text;
  }

  return { toasts, announcement, show, dismiss, hold, announce };
});
