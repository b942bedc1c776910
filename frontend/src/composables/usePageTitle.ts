import { useTitle } from "@vueuse/core";
import { useI18n } from "vue-i18n";

/** The document's title while the calling page is shown: "42 · shop – fastDeploy". */
export function usePageTitle(title: () => string): void {
  const { t } = useI18n();
  useTitle(() => {
    const own = title();
    return own ? `${own} – ${t("app.name")}` : t("app.name");
  }, { restoreOnUnmount: () => t("app.name") });
}
