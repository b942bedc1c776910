import { enableAutoUnmount } from "@vue/test-utils";
import { afterEach } from "vitest";

// What jsdom has no layout for.
class NoResize {
  observe(): void {}
  unobserve(): void {}
  disconnect(): void {}
}

globalThis.ResizeObserver = NoResize;
globalThis.IntersectionObserver = class extends NoResize {
  readonly root = null;
  readonly rootMargin = "";
  readonly scrollMargin = "";
  readonly thresholds = [];
  takeRecords = () => [];
};
Element.prototype.scrollIntoView = () => {};
Element.prototype.hasPointerCapture = () => false;

enableAutoUnmount(afterEach);
