import { useI18n } from "vue-i18n";

/** Returns the display name of an origin: this page and the command line have names of their own. */
export function useOrigin(): (origin: string) => string {
  const { t } = useI18n();
  const names = new Map([["frontend", () => t("origin.frontend")], ["cli", () => t("origin.cli")]]);
  return origin => names.get(origin)?.() ?? origin;
}
