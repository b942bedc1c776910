import { defineStore } from "pinia";
import { computed, ref } from "vue";

export type NotificationState = "off" | "on" | "blocked" | "unsupported";

const KEY = "fastdeploy.notifications";

function remembered(): boolean {
  try {
    return localStorage.getItem(KEY) === "on";
  } catch {
    return false;
  }
}

function remember(wanted: boolean): void {
  try {
    if (wanted) localStorage.setItem(KEY, "on");
    else localStorage.removeItem(KEY);
  } catch {
    // Storage is blocked (private window): the choice lasts until the page is closed.
  }
}

/** Browser notifications; permission is requested only on a click. */
export const useNotificationsStore = defineStore("notifications", () => {
  const supported = "Notification" in window && window.isSecureContext;
  const permission = ref<NotificationPermission>(supported ? Notification.permission : "denied");
  const wanted = ref(remembered());

  const state = computed<NotificationState>(() => {
    if (!supported) return "unsupported";
    if (permission.value === "denied") return "blocked";
    return wanted.value && permission.value === "granted" ? "on" : "off";
  });

  async function turnOn(): Promise<void> {
    if (permission.value !== "granted") permission.value = await Notification.requestPermission();
    wanted.value = permission.value === "granted";
    remember(wanted.value);
  }

  function turnOff(): void {
    wanted.value = false;
    remember(false);
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
