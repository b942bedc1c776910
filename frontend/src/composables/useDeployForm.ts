import { computed, ref, shallowRef } from "vue";
import { useI18n } from "vue-i18n";
import { ApiError } from "@/api/errors";
import type { Deployment, Inputs, Service } from "@/api/types";
import { activeFields, isChanged, isTooLarge, toEnv, type Field } from "@/lib/inputs/fields";
import { isSchema } from "@/lib/inputs/schema";
import type { Fault } from "@/lib/inputs/validation";
import { findFault, fromEnv, toEnv as extraValuesToEnv } from "@/lib/extraValues";
import { useDeploymentsStore } from "@/stores/deployments";
import { useDraftsStore } from "@/stores/drafts";
import { useServicesStore } from "@/stores/services";
import { useProblem } from "./useProblem";
import { useRefusedInputs } from "./useRefusedInputs";

type Validation = typeof import("@/lib/inputs/validation");

/** State of the deploy dialog: the service's inputs, the values entered, and their errors. */
export function useDeployForm(service: () => Service) {
  const { t } = useI18n();
  const services = useServicesStore();
  const deployments = useDeploymentsStore();
  const drafts = useDraftsStore();
  const loading = useProblem();
  const sending = useProblem();
  const inputs = ref<Inputs | null>(null);
  const validation = shallowRef<Validation | null>(null);
  const confirmation = ref("");
  const submitted = ref(false);
  const left = ref(new Set<string>());

  const draft = computed(() => drafts.of(service().id));
  const schema = computed(() => {
    const root = inputs.value?.schema;
    return isSchema(root) ? root : null;
  });
  const fields = computed<Field[]>(() => {
    if (!schema.value || !validation.value) return [];
    return activeFields(schema.value, draft.value.values, validation.value.matches);
  });
  const refused = useRefusedInputs(fields);
  const changed = computed(() => fields.value.filter(field => isChanged(field, draft.value.values)));
  const faults = computed<Record<string, Fault>>(() => {
    if (!schema.value || !validation.value) return {};
    return validation.value.findFaults(fields.value, draft.value.values, schema.value);
  });

  /** Missing values are reported on submit, invalid ones as soon as the field loses focus. */
  const errors = computed<Record<string, string>>(() => {
    const own = Object.entries(faults.value)
      .filter(([name, { key }]) => submitted.value || (left.value.has(name) && key !== "required" && key !== "choose"))
      .map(([name, { key, n }]) => [name, t(`inputs.fault.${key}`, { n: String(n ?? "") })]);
    return { ...refused.errors.value, ...Object.fromEntries(own) as Record<string, string> };
  });
  const extraValuesFault = computed(() => {
    const found = findFault(draft.value.extraValues);
    if (found === null) return null;
    return found.kind === "nameless" ? t("deploy.nameless") : t("deploy.duplicate", { key: found.key });
  });
  const confirmed = computed(() => !inputs.value?.confirm || confirmation.value.trim() === service().name);

  async function load(): Promise<void> {
    drafts.open(service().id);
    const [loaded] = await Promise.all([services.loadInputs(service().id), services.loadOne(service().id)]);
    if (loaded.schema) validation.value ??= await import("@/lib/inputs/validation");
    inputs.value = loaded;
  }

  function reset(): void {
    inputs.value = null;
    sending.problem.value = null;
    confirmation.value = "";
    submitted.value = false;
    left.value = new Set();
    refused.clear();
  }

  function change(name: string, value: unknown): void {
    refused.clear(name);
    drafts.change(service().id, { values: { ...draft.value.values, [name]: value } });
  }

  function useLast(): void {
    const last = inputs.value?.last ?? {};
    refused.clear();
    if (schema.value) return drafts.change(service().id, { values: { ...draft.value.values, ...last } });
    // The browser has already rounded large integers, so leave them out rather than send another number.
    const known = Object.fromEntries(Object.entries(last).filter(([, value]) => !isTooLarge(value)));
    const lost = Object.keys(last).filter(name => isTooLarge(last[name]));
    sending.problem.value = lost.length ? t("deploy.tooLarge", { names: lost.join(", ") }) : null;
    drafts.change(service().id, { extraValues: fromEnv(known) });
  }

  /** Returns true if all values are valid; from now on, errors are shown. */
  function check(): boolean {
    submitted.value = true;
    return Object.keys(errors.value).length === 0 && extraValuesFault.value === null;
  }

  /** Returns the started deployment; null if the server rejected it (see `errors` and `sending.problem`). */
  async function start(): Promise<Deployment | null> {
    if (sending.busy.value) return null;
    const { id } = service();
    const env = schema.value ? toEnv(fields.value, draft.value.values) : extraValuesToEnv(draft.value.extraValues);
    const confirm = inputs.value?.confirm ? confirmation.value.trim() : undefined;
    let started: Deployment | null = null;
    refused.clear();
    await sending.attempt(async () => {
      try {
        started = await deployments.start(id, env, draft.value.key, confirm);
        drafts.drop(id);
      } catch (error) {
        if (!(error instanceof ApiError) || !refused.show(error.faults)) throw error;
      }
    });
    return started;
  }

  return {
    inputs, draft, schema, fields, changed, errors, general: refused.general, extraValuesFault,
    confirmation, confirmed, loading, sending,
    load: () => loading.attempt(load), reset, change, useLast, check, start,
    leave: (name: string) => left.value.add(name),
    startOver: () => drafts.drop(service().id),
    changeExtraValues: (extraValues: typeof draft.value.extraValues) => drafts.change(service().id, { extraValues }),
  };
}
