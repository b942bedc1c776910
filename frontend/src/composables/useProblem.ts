import { ref } from "vue";
import { useI18n } from "vue-i18n";
import { ApiError } from "@/api/errors";

const OWN_SENTENCES = [401, 429, 503] as const;

/** Turns errors into sentences for the reader, and runs actions such that their failure is shown instead of thrown. */
export function useProblem() {
  const { t } = useI18n();
  const problem = ref<string | null>(null);
  /** The server's answer to what failed last; 0 when there was none. */
  const status = ref<number | null>(null);
  const busy = ref(false);

  function describe(error: unknown): string {
    if (!(error instanceof ApiError)) throw error;
    const { status, detail } = error;
    if (status === 0) return t("error.offline");
    const own = OWN_SENTENCES.find(known => known === status);
    if (own) return t(`error.${own}`);
    if (status === 422) return t("error.422", { detail: detail ?? "" });
    if (status === 403 || status === 404 || status === 409) return detail ?? t(`error.${status}`);
    return t("error.server", { status });
  }

  /** True when `action` succeeded. */
  async function attempt(action: () => Promise<unknown>): Promise<boolean> {
    busy.value = true;
    problem.value = null;
    status.value = null;
    try {
      await action();
      return true;
    } catch (error) {
      problem.value = describe(error);
      status.value = error instanceof ApiError ? error.status : null;
      return false;
    } finally {
      busy.value = false;
    }
  }

  return { problem, status, busy, attempt, describe };
}
