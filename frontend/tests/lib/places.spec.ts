import { describe, expect, it } from "vitest";
import { readAgent } from "@/lib/agents";
import { faviconOf } from "@/lib/favicon";
import { extend, readLines, readStep, writeLines, writeStep } from "@/lib/hash";
import { remaining, stepRemaining } from "@/lib/remaining";
import { formatOffset } from "@/lib/time";
import { aDeployment, aStep } from "../support/data";

describe("links to lines", () => {
  it.each([
    ["#L12", { from: 12, to: 12 }],
    ["#L12-L20", { from: 12, to: 20 }],
    ["#L20-12", { from: 12, to: 20 }],
    ["#L0", null],
    ["#L", null],
    ["#L1-", null],
    ["#step-3", null],
    ["", null],
  ])("%s", (hash, range) => expect(readLines(hash)).toEqual(range));

  it("are written in the format that is parsed", () => {
    for (const hash of ["#L7", "#L7-L9"]) expect(writeLines(readLines(hash) ?? { from: 0, to: 0 })).toBe(hash);
    expect(readStep(writeStep(42))).toBe(42);
    expect(readStep("#L42")).toBeNull();
  });

  it("reach from their first line in either direction", () => {
    expect(extend(null, 5)).toEqual({ from: 5, to: 5 });
    expect(extend({ from: 5, to: 5 }, 9)).toEqual({ from: 5, to: 9 });
    expect(extend({ from: 5, to: 9 }, 2)).toEqual({ from: 2, to: 5 });
  });
});

describe("times of lines", () => {
  it.each([
    [0, "+0:00.000"], [7123, "+0:07.123"], [65_040, "+1:05.040"], [3_723_004, "+1:02:03.004"], [-5, "+0:00.000"],
  ])("%d ms after the start", (ms, text) => expect(formatOffset(ms)).toBe(text));
});

describe("the time left of a step", () => {
  const NOW = Date.parse("2026-01-01T10:00:10Z");
  const running = aStep({ state: "running", started: "2026-01-01T10:00:00Z", expected_seconds: 20 });

  it("is estimated from its usual duration", () => {
    expect(stepRemaining(running, NOW)).toEqual({ fraction: 0.5, seconds: 10, overdue: false });
  });

  it("is unknown without a usual duration", () => {
    expect(stepRemaining({ ...running, expected_seconds: null }, NOW).fraction).toBeNull();
    expect(stepRemaining({ ...running, started: null }, NOW).fraction).toBeNull();
  });

  it("is longer than usual only if the difference is noticeable", () => {
    expect(stepRemaining({ ...running, expected_seconds: 9 }, NOW).overdue).toBe(false);
    expect(stepRemaining({ ...running, expected_seconds: 4 }, NOW))
      .toEqual({ fraction: 0.99, seconds: 0, overdue: true });
  });

  it("is zero for a finished deployment", () => {
    expect(remaining(aDeployment({ state: "success" }), [], NOW).fraction).toBe(1);
  });
});

describe("the tab's icon", () => {
  const svg = (href: string) => decodeURIComponent(href.replace("data:image/svg+xml,", ""));

  it("fills with the progress, and shows the outcome", () => {
    const [quarter, half] = [svg(faviconOf("running", 0.25)), svg(faviconOf("running", 0.5))];
    expect(quarter).not.toBe(half);
    const outcomes = (["queued", "success", "failure", "cancelled"] as const).map(state => svg(faviconOf(state, 1)));
    expect(new Set([half, ...outcomes]).size).toBe(5);
    for (const picture of outcomes) {
      expect(new DOMParser().parseFromString(picture, "image/svg+xml").querySelector("path")).not.toBeNull();
    }
  });
});

describe("browsers", () => {
  it.each([
    ["Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "Firefox", "Linux", false],
    ["Mozilla/5.0 (Windows NT 10.0; Win64) AppleWebKit/537.36 Chrome/128.0 Safari/537.36 Edg/128.0", "Edge", "Windows", false],
    ["Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/128.0 Mobile Safari/537.36", "Chrome", "Android", true],
    ["Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit Version/17.5 Safari/604.1", "Safari", "iPhone", true],
    ["Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit Version/17.5 Safari/605.1", "Safari", "macOS", false],
    ["curl/8.5.0", null, null, false],
  ])("%s", (text, browser, system, handheld) => {
    expect(readAgent(text)).toEqual({ browser, system, handheld });
  });
});
