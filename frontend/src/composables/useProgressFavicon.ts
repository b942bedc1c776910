import { useFavicon } from "@vueuse/core";
import { onScopeDispose } from "vue";
import type { DeploymentState } from "@/api/types";
import { faviconOf } from "@/lib/favicon";

export interface Progress {
  state: DeploymentState;
  /** 0–1; null while unknown. */
  fraction: number | null;
}

/** Twenty increments around the ring: more are not visible, and each one updates the tab. */
const STEPS = 20;

/** Shows a deployment's progress in the tab icon while the calling page is shown. */
export function useProgressFavicon(progress: () => Progress | null): void {
  const original = document.querySelector<HTMLLinkElement>("link[rel=icon]")?.href;
  if (!original) return;

  useFavicon(() => {
    const now = progress();
    if (!now) return original;
    return faviconOf(now.state, now.fraction === null ? null : Math.round(now.fraction * STEPS) / STEPS);
  });
  // VueUse does not restore the icon.
  onScopeDispose(() => { useFavicon(original); });
}
