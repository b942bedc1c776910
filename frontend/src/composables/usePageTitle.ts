import { onScopeDispose, watchEffect } from "vue";
import { useI18n } from "vue-i18n";

/** The document's title while the calling page is shown: "42 · shop – fastDeploy". */
export function usePageTitle(title: () => string): void {
  const { t } = useI18n();
  watchEffect(() => {
    const own = title();
    document.title = own ? `${own} – ${t("app.name")}` : t("app.name");
  });
  onScopeDispose(() => { document.title = t("app.name"); });
}
