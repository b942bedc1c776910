import { usePreferredDark } from "@vueuse/core";
import { watch } from "vue";
import { useThemeStore } from "@/stores/theme";

export const COLORS = ["ink", "muted", "line", "surface", "accent", "ok", "bad"] as const;
export type Palette = Record<typeof COLORS[number], string>;

/** The theme's colors in a form that a canvas accepts: the browser resolves `light-dark()` only for elements. */
export function readPalette(within: HTMLElement): Palette {
  const probe = document.createElement("span");
  within.append(probe);
  const entries = COLORS.map((name) => {
    probe.style.color = `var(--${name})`;
    return [name, getComputedStyle(probe).color] as const;
  });
  probe.remove();
  return Object.fromEntries(entries) as Palette;
}

/** Calls back after the colors have changed, through the user's choice or the system's. */
export function onThemeChange(callback: () => void): void {
  const theme = useThemeStore();
  watch([() => theme.theme, usePreferredDark()], callback, { flush: "post" });
}
