import { beforeEach, describe, expect, it, vi } from "vitest";
import { isMissingPart, reloadOnce } from "@/lib/update";

beforeEach(() => sessionStorage.clear());

describe("a part of the page that cannot be loaded", () => {
  it.each([
    "Failed to fetch dynamically imported module: https://example.org/ui/assets/QueueView-1.js",
    "error loading dynamically imported module: https://example.org/ui/assets/QueueView-1.js",
    "Importing a module script failed.",
    "Unable to preload CSS for /ui/assets/QueueView-1.css",
  ])("is recognized: %s", (message) => {
    expect(isMissingPart(new TypeError(message))).toBe(true);
  });

  it("is not confused with other errors", () => {
    expect(isMissingPart(new TypeError("x is undefined"))).toBe(false);
    expect(isMissingPart("text")).toBe(false);
  });

  it("reloads once, not in a loop", () => {
    const go = vi.fn();
    expect(reloadOnce("/ui/queue", sessionStorage, go, 1_000_000)).toBe(true);
    expect(reloadOnce("/ui/queue", sessionStorage, go, 1_010_000)).toBe(false);
    expect(reloadOnce("/ui/queue", sessionStorage, go, 1_100_000)).toBe(true);
    expect(go).toHaveBeenCalledTimes(2);
  });
});
