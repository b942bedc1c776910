import { enableAutoUnmount } from "@vue/test-utils";
import { afterEach } from "vitest";

// Layout functions missing in jsdom.
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
