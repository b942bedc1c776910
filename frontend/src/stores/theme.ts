import { useStorage } from "@vueuse/core";
import { defineStore } from "pinia";
import { watch } from "vue";

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = typeof THEMES[number];

const KEY = "fastdeploy.theme";
const serializer = {
  read: (stored: string) => THEMES.find(known => known === stored) ?? "system",
  write: (theme: Theme) => theme,
};

/** The user's theme. `public/theme.js` applies it before the first paint. */
export const useThemeStore = defineStore("theme", () => {
  const theme = useStorage<Theme>(KEY, "system", undefined, { serializer, writeDefaults: false });
  watch(theme, (chosen) => {
    if (chosen === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
  }, { flush: "sync" });
  return { theme };
});
