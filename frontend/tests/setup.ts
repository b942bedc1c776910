import { enableAutoUnmount } from "@vue/test-utils";
import { afterEach } from "vitest";

// What jsdom has no layout for.
class NoResize {
  observe(): void {}
  unobserve(): void {}
  disconnect(): void {}
}

globalThis.ResizeObserver = NoResize;
Element.prototype.scrollIntoView = () => {};
Element.prototype.hasPointerCapture = () => false;

enableAutoUnmount(afterEach);
