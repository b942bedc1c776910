import { defineStore } from "pinia";
import { ref, watch } from "vue";

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = typeof THEMES[number];

const KEY = "fastdeploy.theme";

function current(): Theme {
  const chosen = document.documentElement.dataset.theme;
  return chosen === "light" || chosen === "dark" ? chosen : "system";
}

function remember(theme: Theme): void {
  try {
    if (theme === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // Storage is blocked (private window): the choice lasts until the page is closed.
  }
}

/** The user's theme. `public/theme.js` applies it before the first paint. */
export const useThemeStore = defineStore("theme", () => {
  const theme = ref<Theme>(current());
  watch(theme, (chosen) => {
    if (chosen === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    remember(chosen);
  }, { flush: "sync" });
  return { theme };
});
