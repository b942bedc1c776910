import { onScopeDispose, watch } from "vue";
import type { DeploymentState } from "@/api/types";
import { faviconOf } from "@/lib/favicon";

export interface Standing {
  state: DeploymentState;
  /** 0–1; null while unknown. */
  fraction: number | null;
}

/** Twenty increments around the ring: more are not visible, and each one updates the tab. */
const STEPS = 20;

/** Shows a deployment's progress in the tab icon while the calling page is shown. */
export function useProgressFavicon(standing: () => Standing | null): void {
  const icon = document.querySelector<HTMLLinkElement>("link[rel=icon]");
  if (!icon) return;
  const usual = icon.href;

  watch(() => {
    const now = standing();
    if (!now) return usual;
    return faviconOf(now.state, now.fraction === null ? null : Math.round(now.fraction * STEPS) / STEPS);
  }, (href) => { icon.href = href; }, { immediate: true });
  onScopeDispose(() => { icon.href = usual; });
}
