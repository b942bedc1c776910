import { describe, expect, it } from "vitest";
import { limitsOf, step } from "@/lib/inputs/numbers";

describe("stepping numbers", () => {
  const limits = limitsOf({ minimum: 1, maximum: 5 }, true);

  it("stay within their limits", () => {
    expect(step(1, -1, limits)).toBe(1);
    expect(step(4, 1, limits)).toBe(5);
    expect(step(5, 1, limits)).toBe(5);
    expect(limitsOf({ exclusiveMinimum: 0, exclusiveMaximum: 10 }, true)).toEqual({ min: 1, max: 9, step: 1 });
  });

  it("start nearest to zero", () => {
    expect(step(null, 1, limits)).toBe(1);
    expect(step(null, 1, limitsOf({}, true))).toBe(0);
  });

  it("move between multiples without floating-point errors", () => {
    const tenths = limitsOf({ multipleOf: 0.1 }, false);
    expect(step(0.2, 1, tenths)).toBe(0.3);
    expect(step(0.25, 1, tenths)).toBe(0.3);
    expect(step(0.25, -1, tenths)).toBe(0.2);
    expect(step(7, 1, limitsOf({ multipleOf: 5 }, true))).toBe(10);
  });
});
