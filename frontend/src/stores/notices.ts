import { defineStore } from "pinia";
import { ref } from "vue";
import type { RouteLocationRaw } from "vue-router";

export interface Toast {
  id: number;
  kind: "info" | "success" | "failure";
  text: string;
  /** Link to the details. */
  link?: ToastLink;
}

export interface ToastLink {
  to: RouteLocationRaw;
  text: string;
}

const TOAST_MS = 7000;
/** Maximum number of toasts; the oldest are removed. */
const MAX_TOASTS = 3;

/** Short messages to the user: toasts, and announcements for screen readers only. */
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

  /** A failure stays until it is dismissed. */
  function expireLater({ id, kind }: Toast): void {
    if (kind !== "failure") timers.set(id, setTimeout(() => dismiss(id), TOAST_MS));
  }

  function show(text: string, kind: Toast["kind"] = "info", link?: ToastLink): void {
    const toast: Toast = { id: nextId++, kind, text, link };
    for (const { id } of toasts.value.slice(0, Math.max(0, toasts.value.length + 1 - MAX_TOASTS))) dismiss(id);
    toasts.value.push(toast);
    expireLater(toast);
  }

  /** Toasts stay while the pointer is over them; then their timers restart. */
  function hold(held: boolean): void {
    for (const timer of timers.values()) clearTimeout(timer);
    timers.clear();
    if (!held) toasts.value.forEach(expireLater);
  }

  /** Announces a text to screen readers at the next pause. */
  function announce(text: string): void {
    announcement.value = text;
  }

  return { toasts, announcement, show, dismiss, hold, announce };
});
