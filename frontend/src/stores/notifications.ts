import { useStorage } from "@vueuse/core";
import { defineStore } from "pinia";
import { computed, ref } from "vue";

export type NotificationState = "off" | "on" | "blocked" | "unsupported";

const KEY = "fastdeploy.notifications";

/** Browser notifications; permission is requested only on a click. */
export const useNotificationsStore = defineStore("notifications", () => {
  const supported = "Notification" in window && window.isSecureContext;
  const permission = ref<NotificationPermission>(supported ? Notification.permission : "denied");
  const choice = useStorage<"on" | "off">(KEY, "off", undefined, { writeDefaults: false });

  const state = computed<NotificationState>(() => {
    if (!supported) return "unsupported";
    if (permission.value === "denied") return "blocked";
    return choice.value === "on" && permission.value === "granted" ? "on" : "off";
  });

  async function turnOn(): Promise<void> {
    if (permission.value !== "granted") permission.value = await Notification.requestPermission();
    choice.value = permission.value === "granted" ? "on" : "off";
  }

  function turnOff(): void {
    choice.value = "off";
  }

  /** Shows a notification if enabled. The same `tag` is shown once across all tabs. */
  function notify(title: string, body: string, tag: string, open: () => void): void {
    if (state.value !== "on") return;
    try {
      const notification = new Notification(title, { body, tag, icon: `${import.meta.env.BASE_URL}favicon.svg` });
      notification.onclick = () => {
        window.focus();
        open();
        notification.close();
      };
    } catch (error) {
      // Some mobile browsers allow notifications only from service workers.
      if (!(error instanceof TypeError)) throw error;
    }
  }

  return { state, turnOn, turnOff, notify };
});
