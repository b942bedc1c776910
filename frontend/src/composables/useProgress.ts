import { computed } from "vue";
import { useI18n } from "vue-i18n";
import type { Deployment, Step } from "@/api/types";
import { progressOf } from "@/lib/progress";
import { remaining } from "@/lib/remaining";
import { formatElapsed } from "@/lib/time";
import { usePushStore } from "@/stores/push";
import { useNow } from "./useNow";

/** Estimates are rounded, because single seconds suggest too much precision. */
function roughly(seconds: number): number {
  if (seconds < 10) return Math.ceil(seconds);
  return seconds < 60 ? Math.ceil(seconds / 5) * 5 : Math.ceil(seconds / 30) * 30;
}

/** Progress of a deployment, updated each second, and the text for the time left. */
export function useProgress(deployment: () => Deployment | undefined, steps: () => readonly Step[]) {
  const { t } = useI18n();
  const now = useNow(1000);
  const push = usePushStore();
  const progress = computed(() => progressOf(steps()));
  const left = computed(() => {
    const current = deployment();
    if (!current) return { fraction: null, seconds: null, overdue: false };
    const found = remaining(current, steps(), now.value);
    // Without word from the server, it may have ended long ago.
    return push.status === "offline" ? { ...found, seconds: null, overdue: false } : found;
  });
  const timeLeft = computed(() => {
    const { seconds, overdue } = left.value;
    if (deployment()?.state !== "running") return "";
    if (overdue) return t("deployment.overdue");
    if (seconds === null) return "";
    return seconds < 1 ? t("deployment.almostDone") : t("deployment.timeLeft", { time: formatElapsed(roughly(seconds) * 1000) });
  });
  return { progress, left, timeLeft };
}
