import type { Deployment, Step } from "@/api/types";
import { isFinal, progressOf } from "./progress";
import { elapsed } from "./time";

export interface Remaining {
  /** 0…1 of the work that is done; null while nothing is known about it. */
  fraction: number | null;
  /** Seconds until the end, judged by the last successes; null while nothing is known. */
  seconds: number | null;
  /** It takes noticeably longer than it usually does. */
  overdue: boolean;
}

type Timed = Pick<Step, "started" | "finished" | "expected_seconds">;

/** What runs is never shown as done: the end of the bar belongs to the outcome. */
const MOST = 0.99;

function isOverdue(taken: number, expected: number): boolean {
  return taken > expected * 1.5 + 2;
}

function secondsOf(timed: Pick<Timed, "started" | "finished">, now: number): number {
  return Math.max(0, (elapsed(timed.started, timed.finished, now) ?? 0) / 1000);
}

function byWhole(deployment: Pick<Deployment, "started" | "finished">, expected: number, now: number): Remaining {
  const taken = secondsOf(deployment, now);
  return {
    fraction: expected > 0 ? Math.min(MOST, taken / expected) : MOST,
    seconds: Math.max(0, expected - taken),
    overdue: isOverdue(taken, expected),
  };
}

/** Steps whose usual duration is known count with it; the others are taken to need no time. */
function bySteps(steps: readonly Step[], now: number): Remaining {
  let [total, done, overdue] = [0, 0, false];
  for (const step of steps) {
    const expected = step.expected_seconds ?? 0;
    total += expected;
    if (step.state === "running") {
      const taken = secondsOf(step, now);
      done += Math.min(taken, expected);
      overdue ||= step.expected_seconds !== null && isOverdue(taken, expected);
    } else if (step.state !== "pending") {
      done += expected;
    }
  }
  return { fraction: total > 0 ? Math.min(MOST, done / total) : null, seconds: total - done, overdue };
}

/** The same for one step; without an expectation nothing is known. */
export function stepRemaining(step: Timed, now: number): Remaining {
  const expected = step.expected_seconds;
  return expected === null || step.started === null
    ? { fraction: null, seconds: null, overdue: false }
    : byWhole(step, expected, now);
}

/** Whether what is still to do has been timed before: otherwise the whole deployment tells more than its steps. */
function stepsTell(steps: readonly Step[]): boolean {
  const open = steps.filter(step => step.state === "pending" || step.state === "running");
  return open.length > 0 && open.every(step => step.expected_seconds !== null);
}

/**
 * How far a deployment is, and how long it still takes: from what its steps usually take, otherwise from what the
 * whole usually takes; without either, the share of the steps that are done. `now` in milliseconds since the epoch.
 */
export function remaining(
  deployment: Pick<Deployment, "state" | "started" | "finished" | "expected_seconds">,
  steps: readonly Step[],
  now: number,
): Remaining {
  const { state, expected_seconds: expected } = deployment;
  if (isFinal(deployment)) return { fraction: 1, seconds: 0, overdue: false };
  if (state === "queued") return { fraction: 0, seconds: expected, overdue: false };
  if (stepsTell(steps)) {
    const told = bySteps(steps, now);
    if (told.fraction !== null) return told;
  }
  if (expected !== null) return byWhole(deployment, expected, now);
  return { fraction: steps.length > 0 ? progressOf(steps).share : null, seconds: null, overdue: false };
}
