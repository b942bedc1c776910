import { computed, watch, type ComputedRef } from "vue";
import { ApiError } from "@/api/errors";
import { useDeploymentsStore } from "@/stores/deployments";
import { useStepsStore } from "@/stores/steps";
import { useResync } from "./useResync";
import type { Step } from "@/api/types";

/** The steps of a deployment that is not followed: fetched once, then updated by messages. */
export function useSteps(id: () => number): ComputedRef<Step[]> {
  const deployments = useDeploymentsStore();
  const steps = useStepsStore();
  const load = () => deployments.fetchOne(id());

  watch(id, () => {
    load().catch((error: unknown) => {
      if (!(error instanceof ApiError)) throw error;
    });
  }, { immediate: true });
  useResync(load);
  return computed(() => steps.of(id()));
}
