import { describe, expect, it } from "vitest";
import { remaining } from "@/lib/remaining";
import { aDeployment, aStep } from "../support/data";

const START = "2026-01-01T10:00:00Z";
const after = (seconds: number) => Date.parse(START) + seconds * 1000;
const running = (expected: number | null) => aDeployment({ state: "running", started: START, expected_seconds: expected });
const pending = (expected: number | null) => aStep({ id: 9, state: "pending", expected_seconds: expected });
const done = (expected: number | null) => aStep({ id: 8, state: "success", expected_seconds: expected });
const active = (expected: number | null) => aStep({ id: 7, state: "running", started: START, expected_seconds: expected });

describe("the time left of a deployment", () => {
  it("is estimated from the usual durations of its steps", () => {
    const steps = [done(10), active(20), pending(10)];
    expect(remaining(running(500), steps, after(10))).toEqual({ fraction: 0.5, seconds: 20, overdue: false });
  });

  it("counts a step that was quick, failed or was skipped as done", () => {
    const steps = [done(30), aStep({ state: "skipped", expected_seconds: 10 }), pending(40)];
    expect(remaining(running(null), steps, after(1))).toEqual({ fraction: 0.5, seconds: 40, overdue: false });
  });

  it("stops at a step that takes longer than usual, and says so", () => {
    const steps = [active(10), pending(30)];
    expect(remaining(running(null), steps, after(14))).toEqual({ fraction: 0.25, seconds: 30, overdue: false });
    expect(remaining(running(null), steps, after(60))).toEqual({ fraction: 0.25, seconds: 30, overdue: true });
  });

  it("is estimated from the whole deployment if the remaining steps have no usual duration", () => {
    const steps = [done(10), active(null)];
    expect(remaining(running(40), steps, after(10))).toEqual({ fraction: 0.25, seconds: 30, overdue: false });
    expect(remaining(running(40), [], after(30))).toEqual({ fraction: 0.75, seconds: 10, overdue: false });
  });

  it("never reaches 100% before the end", () => {
    expect(remaining(running(10), [], after(12))).toEqual({ fraction: 0.99, seconds: 0, overdue: false });
    expect(remaining(running(10), [], after(90))).toEqual({ fraction: 0.99, seconds: 0, overdue: true });
  });

  it("is the share of steps, without a time, for the first deployment", () => {
    const steps = [done(null), active(null)];
    expect(remaining(running(null), steps, after(5))).toEqual({ fraction: 0.75, seconds: null, overdue: false });
    expect(remaining(running(null), [], after(5))).toEqual({ fraction: null, seconds: null, overdue: false });
  });

  it("tolerates a clock that is behind the server's", () => {
    expect(remaining(running(40), [active(40)], after(-30))).toEqual({ fraction: 0, seconds: 40, overdue: false });
  });

  it("is the whole duration while queued, and zero at the end", () => {
    expect(remaining(aDeployment({ state: "queued", started: null, expected_seconds: 40 }), [], after(0)).seconds).toBe(40);
    expect(remaining(aDeployment({ state: "failure" }), [], after(0))).toEqual({ fraction: 1, seconds: 0, overdue: false });
  });
});
