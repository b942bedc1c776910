import { useVirtualizer } from "@tanstack/vue-virtual";
import { computed, type Ref } from "vue";

/** Shorter lists are drawn as a whole. */
const SHORT = 30;

/** The rows of a long list to draw: those in view, in a box that scrolls. */
export function useVirtualRows(count: () => number, scroller: Readonly<Ref<HTMLElement | null>>, rowHeight: number) {
  const isLong = computed(() => count() > SHORT);
  const virtualizer = useVirtualizer(computed(() => ({
    count: isLong.value ? count() : 0,
    getScrollElement: () => scroller.value,
    estimateSize: () => rowHeight,
    overscan: 8,
  })));
  const items = computed(() => virtualizer.value.getVirtualItems());
  /** Indices of the rows to draw. */
  const shown = computed(() =>
    isLong.value ? items.value.map(item => item.index) : Array.from({ length: count() }, (_, index) => index));
  const height = computed(() => isLong.value ? `${virtualizer.value.getTotalSize()}px` : undefined);
  const offset = computed(() => isLong.value ? `translateY(${items.value[0]?.start ?? 0}px)` : undefined);

  function measure(element: unknown): void {
    if (isLong.value && element instanceof Element) virtualizer.value.measureElement(element);
  }

  return { isLong, shown, height, offset, measure };
}
