import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { backoffDelay } from "@/lib/backoff";
import { countFilters, readFilters, toApiFilters, writeFilters } from "@/lib/filters";
import { failedStep, progressOf } from "@/lib/progress";
import { randomId } from "@/lib/random";
import { findFault, toEnv } from "@/lib/extraValues";
import { elapsed, formatDuration, formatElapsed, formatRelative } from "@/lib/time";
import { aStep } from "../support/data";

describe("durations", () => {
  it.each([
    [0, "< 0.1 s"], [99, "< 0.1 s"], [230, "0.2 s"], [9_960, "9.9 s"], [12_800, "12 s"], [65_000, "1 min 5 s"],
    [7_384_000, "2 h 3 min"], [-5, "< 0.1 s"],
  ])("%d ms read %s", (ms, text) => expect(formatDuration(ms)).toBe(text));

  it("count in whole seconds while something runs", () => {
    expect(formatElapsed(0)).toBe("0 s");
    expect(formatElapsed(4_900)).toBe("4 s");
    expect(formatElapsed(61_000)).toBe("1 min 1 s");
  });

  it("count until now if not finished, and are unknown before the start", () => {
    expect(elapsed("2026-01-01T10:00:00Z", "2026-01-01T10:00:03Z", 0)).toBe(3000);
    expect(elapsed("2026-01-01T10:00:00Z", null, Date.parse("2026-01-01T10:00:05Z"))).toBe(5000);
    expect(elapsed(null, null, 0)).toBeNull();
  });
});

describe("distances in time", () => {
  const now = Date.parse("2026-01-10T12:00:00Z");
  it.each([
    ["2026-01-10T11:59:55Z", "now"], ["2026-01-10T11:59:20Z", "40 seconds ago"], ["2026-01-10T11:15:00Z", "45 minutes ago"],
    ["2026-01-09T11:00:00Z", "yesterday"], ["2026-01-13T13:00:00Z", "in 3 days"], ["2026-04-10T11:59:00Z", "in 89 days"], ["2024-01-01T00:00:00Z", "2 years ago"],
  ])("%s is %s", (at, text) => expect(formatRelative(new Date(at), now, "en")).toBe(text));
});

describe("backoff", () => {
  it("doubles up to a limit, and always keeps at least half of it", () => {
    const chance = fc.double({ min: 0, max: 0.999, noNaN: true });
    fc.assert(fc.property(fc.integer({ min: 0, max: 40 }), chance, (attempt, luck) => {
      const ceiling = Math.min(20_000, 500 * 2 ** attempt);
      const delay = backoffDelay(attempt, () => luck);
      expect(delay).toBeGreaterThanOrEqual(ceiling / 2);
      expect(delay).toBeLessThanOrEqual(ceiling);
    }));
  });
});

describe("progress", () => {
  it("counts finished steps, and running ones as half", () => {
    const steps = [aStep({ state: "success" }), aStep({ state: "skipped" }), aStep({ state: "running", name: "Now" }), aStep()];
    expect(progressOf(steps)).toMatchObject({ done: 2, total: 4, share: 0.625, current: { name: "Now" } });
  });

  it("is zero without steps", () => expect(progressOf([])).toEqual({ done: 0, total: 0, share: 0, current: null }));

  it("finds the step that failed", () => {
    expect(failedStep([aStep({ state: "success" }), aStep({ state: "failure", name: "Oops" })])?.name).toBe("Oops");
    expect(failedStep([aStep()])).toBeNull();
  });
});

describe("extra values of a deployment", () => {
  const rows = (...pairs: [string, string][]) => pairs.map(([key, value], row) => ({ row, key, value }));

  it("become the context, without empty rows", () => {
    expect(toEnv(rows(["BRANCH ", "main"], ["", ""], ["EMPTY", ""]))).toEqual({ BRANCH: "main", EMPTY: "" });
  });

  it.each([
    [rows(["A", "1"], [" A", "2"]), { kind: "duplicate", key: "A" }],
    [rows(["", "1"]), { kind: "nameless" }],
    [rows(["", ""], ["", ""]), null],
  ])("are checked", (given, fault) => expect(findFault(given)).toEqual(fault));
});

describe("filters in the URL", () => {
  const none = { service: "", state: [], user: "", origin: "", since: "", until: "" };
  const NOW = Date.UTC(2026, 0, 31, 12);

  it("survive a round trip", () => {
    const filters = { ...none, service: "3", state: ["failure", "cancelled"], user: "lena", since: "7d" };
    const query = writeFilters(filters);
    expect(query).toEqual({ service: "3", state: ["failure", "cancelled"], user: "lena", since: "7d" });
    expect(readFilters(query as Record<string, string>)).toEqual(filters);
    expect(countFilters(filters)).toBe(4);
  });

  it("may have one state or none", () => {
    expect(readFilters({ state: "failure" }).state).toEqual(["failure"]);
    expect(readFilters({ state: null }).state).toEqual([]);
  });

  it("are not sent if invalid", () => {
    const odd = { ...none, service: "x", state: ["odd"], origin: "cli", since: "soon", until: "2026-99-99x" };
    expect(toApiFilters(odd, NOW)).toEqual({ origin: "cli" });
    expect(toApiFilters({ ...none, service: "3", state: ["odd", "queued"], user: "a" }, NOW))
      .toEqual({ service_id: 3, state: ["queued"], user: "a" });
  });

  it("for time are recent days, or whole days in the user's time zone", () => {
    expect(toApiFilters({ ...none, since: "24h" }, NOW)).toEqual({ since: "2026-01-30T12:00:00.000Z" });
    expect(toApiFilters({ ...none, since: "2026-01-02", until: "2026-01-03" }, NOW)).toEqual({
      since: new Date(2026, 0, 2).toISOString(), until: new Date(2026, 0, 4).toISOString(),
    });
  });
});

describe("random ids", () => {
  it("are UUIDs of version 4", () => {
    expect(randomId()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(randomId()).not.toBe(randomId());
  });
});
