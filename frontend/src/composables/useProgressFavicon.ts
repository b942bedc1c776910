import { onScopeDispose, watch } from "vue";
import type { DeploymentState } from "@/api/types";
import { faviconOf } from "@/lib/favicon";

export interface Standing {
  state: DeploymentState;
  /** 0…1; null while unknown. */
  fraction: number | null;
}

/** Twenty steps around the ring: more can't be seen, and each changes the tab. */
const STEPS = 20;

/** The tab's icon shows where a deployment stands, as long as the calling page is shown. */
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
