import type { Deployment, DeploymentState, Step, StepState } from "@/api/types";

type Phase = "active" | "final";

/** The states of a deployment. The type check fails here for a new state until it is listed. */
const DEPLOYMENT = {
  queued: "active", running: "active", success: "final", failure: "final", cancelled: "final",
} as const satisfies Record<DeploymentState, Phase>;
const STEP = {
  pending: "active", running: "active", success: "final", failure: "final", skipped: "final",
} as const satisfies Record<StepState, Phase>;

export type FinalState = {
  [State in DeploymentState]: (typeof DEPLOYMENT)[State] extends "final" ? State : never
}[DeploymentState];

export const DEPLOYMENT_STATES = Object.keys(DEPLOYMENT) as DeploymentState[];
export const FINAL_STATES: readonly DeploymentState[] = DEPLOYMENT_STATES.filter(state => DEPLOYMENT[state] === "final");

export function isFinal(deployment: Pick<Deployment, "state">): boolean {
  return DEPLOYMENT[deployment.state] === "final";
}

export function isFinalStep(step: Pick<Step, "state">): boolean {
  return STEP[step.state] === "final";
}
