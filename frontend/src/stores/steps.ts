import { defineStore } from "pinia";
import { ref } from "vue";
import type { StepMessage } from "@/api/messages";
import type { Step } from "@/api/types";
import { usePushStore } from "./push";

interface Known {
  /** `seq` of the last change in `steps`. */
  seq: number;
  steps: Step[];
}

/** In the order in which they ran, then the planned ones. */
function inOrder(steps: readonly Step[]): Step[] {
  const place = (step: Step) => step.run_order ?? Infinity;
  return [...steps].sort((a, b) => place(a) === place(b) ? a.position - b.position : place(a) - place(b));
}

function toStep({ type: _type, seq: _seq, deleted: _deleted, ...step }: StepMessage): Step {
  return step;
}

/** Steps of the deployments with a fetched snapshot, kept up to date by messages. */
export const useStepsStore = defineStore("steps", () => {
  const push = usePushStore();
  const byDeployment = ref<Record<number, Known>>({});

  function snapshot(deploymentId: number, seq: number, steps: readonly Step[]): void {
    const known = byDeployment.value[deploymentId];
    if (known && known.seq > seq) return;
    byDeployment.value[deploymentId] = { seq, steps: inOrder(steps) };
  }

  push.on("step", (message) => {
    const known = byDeployment.value[message.deployment_id];
    if (!known || message.seq <= known.seq) return;
    const others = known.steps.filter(step => step.id !== message.id);
    const steps = message.deleted ? others : inOrder([...others, toStep(message)]);
    byDeployment.value[message.deployment_id] = { seq: message.seq, steps };
  });

  function of(deploymentId: number): Step[] {
    return byDeployment.value[deploymentId]?.steps ?? [];
  }

  return { of, snapshot };
});
