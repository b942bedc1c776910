import type { Deployment, Step } from "@/api/types";
import { progressOf } from "./progress";
import { isFinal, isFinalStep } from "./states";
import { elapsed } from "./time";

export interface Remaining {
  /** Share of the work that is done, 0–1; null while unknown. */
  fraction: number | null;
  /** Seconds left, estimated from the last successful runs; null while unknown. */
  seconds: number | null;
  /** It takes noticeably longer than usual. */
  overdue: boolean;
}

type Timed = Pick<Step, "started" | "finished" | "expected_seconds">;

/** Upper limit of the bar while running; only the outcome fills it. */
const MAX_WHILE_RUNNING = 0.99;

function isOverdue(taken: number, expected: number): boolean {
  return taken > expected * 1.5 + 2;
}

function secondsOf(timed: Pick<Timed, "started" | "finished">, now: number): number {
  return Math.max(0, (elapsed(timed.started, timed.finished, now) ?? 0) / 1000);
}

function byWhole(deployment: Pick<Deployment, "started" | "finished">, expected: number, now: number): Remaining {
  const taken = secondsOf(deployment, now);
  return {
    fraction: expected > 0 ? Math.min(MAX_WHILE_RUNNING, taken / expected) : MAX_WHILE_RUNNING,
    seconds: Math.max(0, expected - taken),
    overdue: isOverdue(taken, expected),
  };
}

/** Steps count with their expected duration; steps without one count as zero. */
function bySteps(steps: readonly Step[], now: number): Remaining {
  let [total, done, overdue] = [0, 0, false];
  for (const step of steps) {
    const expected = step.expected_seconds ?? 0;
    total += expected;
    if (step.state === "running") {
      const taken = secondsOf(step, now);
      done += Math.min(taken, expected);
      overdue ||= step.expected_seconds !== null && isOverdue(taken, expected);
    } else if (isFinalStep(step)) {
      done += expected;
    }
  }
  return { fraction: total > 0 ? Math.min(MAX_WHILE_RUNNING, done / total) : null, seconds: total - done, overdue };
}

/** The same for one step; unknown without an expected duration. */
export function stepRemaining(step: Timed, now: number): Remaining {
  const expected = step.expected_seconds;
  return expected === null || step.started === null
    ? { fraction: null, seconds: null, overdue: false }
    : byWhole(step, expected, now);
}

/** Returns true if the remaining steps have expected durations; otherwise the whole deployment's is more accurate. */
function stepsAreTimed(steps: readonly Step[]): boolean {
  const open = steps.filter(step => !isFinalStep(step));
  return open.length > 0 && open.every(step => step.expected_seconds !== null);
}

/**
 * Returns the progress and time left of a deployment: from the expected durations of its steps, otherwise from that
 * of the whole; without either, the share of finished steps. `now` is in milliseconds since the epoch.
 */
export function remaining(
  deployment: Pick<Deployment, "state" | "started" | "finished" | "expected_seconds">,
  steps: readonly Step[],
  now: number,
): Remaining {
  const { state, expected_seconds: expected } = deployment;
  if (isFinal(deployment)) return { fraction: 1, seconds: 0, overdue: false };
  if (state === "queued") return { fraction: 0, seconds: expected, overdue: false };
  if (stepsAreTimed(steps)) {
    const fromSteps = bySteps(steps, now);
    if (fromSteps.fraction !== null) return fromSteps;
  }
  if (expected !== null) return byWhole(deployment, expected, now);
  return { fraction: steps.length > 0 ? progressOf(steps).share : null, seconds: null, overdue: false };
}
