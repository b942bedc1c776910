import { ref } from "vue";
import { useI18n } from "vue-i18n";
import { ApiError } from "@/api/errors";
import { isMissingPart } from "@/lib/update";

const SERVER_SENTENCES = [403, 404, 409, 429, 503] as const;

/** Turns errors into messages for the user, and runs actions so that failures are shown instead of thrown. */
export function useProblem() {
  const { t } = useI18n();
  const problem = ref<string | null>(null);
  /** HTTP status of the last failure; 0 if the server did not respond. */
  const status = ref<number | null>(null);
  const busy = ref(false);

  function describe(error: unknown): string {
    if (isMissingPart(error)) return t("error.outdated");
    if (!(error instanceof ApiError)) throw error;
    const { status, detail } = error;
    if (status === 0) return t("error.offline");
    if (status === 401) return t("error.401");
    if (status === 422) return t("error.422", { detail: detail ?? "" });
    const known = SERVER_SENTENCES.find(one => one === status);
    // The server's message says how long to wait and why; a proxy in front of it sends none.
    if (known) return detail ?? t(`error.${known}`);
    return t("error.server", { status });
  }

  /** Returns true if `action` succeeded. */
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
