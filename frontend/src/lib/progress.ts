import type { Step } from "@/api/types";
import { isFinalStep } from "./states";

export interface Progress {
  done: number;
  total: number;
  /** 0–1; a running step counts half. */
  share: number;
  current: Step | null;
}

export function progressOf(steps: readonly Step[]): Progress {
  const current = steps.find(step => step.state === "running") ?? null;
  const done = steps.filter(isFinalStep).length;
  const share = steps.length === 0 ? 0 : (done + (current ? 0.5 : 0)) / steps.length;
  return { done, total: steps.length, share, current };
}

export function failedStep(steps: readonly Step[]): Step | null {
  return steps.find(step => step.state === "failure") ?? null;
}
