import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { backoffDelay } from "@/lib/backoff";
import { readFilters, toApiFilters, writeFilters } from "@/lib/filters";
import { failedStep, progressOf } from "@/lib/progress";
import { randomId } from "@/lib/random";
import { findFault, toEnv } from "@/lib/settings";
import { deploySnippets } from "@/lib/snippets";
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

  it("go up to now while there is no end, and are unknown before the start", () => {
    expect(elapsed("2026-01-01T10:00:00Z", "2026-01-01T10:00:03Z", 0)).toBe(3000);
    expect(elapsed("2026-01-01T10:00:00Z", null, Date.parse("2026-01-01T10:00:05Z"))).toBe(5000);
    expect(elapsed(null, null, 0)).toBeNull();
  });
});

describe("distances in time", () => {
  const now = Date.parse("2026-01-10T12:00:00Z");
  it.each([
    ["2026-01-10T11:59:55Z", "now"], ["2026-01-10T11:59:20Z", "40 seconds ago"], ["2026-01-10T11:15:00Z", "45 minutes ago"],
    ["2026-01-09T11:00:00Z", "yesterday"], ["2026-01-13T13:00:00Z", "in 3 days"], ["2024-01-01T00:00:00Z", "2 years ago"],
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
  it("counts what is done, and half of what runs", () => {
    const steps = [aStep({ state: "success" }), aStep({ state: "skipped" }), aStep({ state: "running", name: "Now" }), aStep()];
    expect(progressOf(steps)).toMatchObject({ done: 2, total: 4, share: 0.625, current: { name: "Now" } });
  });

  it("of nothing is nothing", () => expect(progressOf([])).toEqual({ done: 0, total: 0, share: 0, current: null }));

  it("finds the step that failed", () => {
    expect(failedStep([aStep({ state: "success" }), aStep({ state: "failure", name: "Oops" })])?.name).toBe("Oops");
    expect(failedStep([aStep()])).toBeNull();
  });
});

describe("settings of a deployment", () => {
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
  it("survive the way there and back", () => {
    const filters = { service: "3", state: "failure", user: "lena", origin: "" };
    const query = writeFilters(filters);
    expect(query).toEqual({ service: "3", state: "failure", user: "lena" });
    expect(readFilters(query as Record<string, string>)).toEqual(filters);
  });

  it("that make no sense are not asked for", () => {
    expect(toApiFilters({ service: "x", state: "odd", user: "", origin: "cli" })).toEqual({ origin: "cli" });
    expect(toApiFilters({ service: "3", state: "queued", user: "a", origin: "" }))
      .toEqual({ service_id: 3, state: "queued", user: "a" });
  });
});

describe("snippets", () => {
  it("name the address, and the token only as a secret's name", () => {
    for (const { code } of deploySnippets("https://deploy.example.com")) {
      expect(code).toContain("https://deploy.example.com/deployments/");
      expect(code).toContain("$FASTDEPLOY_TOKEN");
    }
  });
});

describe("random ids", () => {
  it("are UUIDs of version 4", () => {
    expect(randomId()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(randomId()).not.toBe(randomId());
  });
});
