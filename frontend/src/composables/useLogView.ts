import { useVirtualizer } from "@tanstack/vue-virtual";
import { computed, nextTick, ref, watch, type Ref } from "vue";
import { useOutputStore, type Log } from "@/stores/output";

export const ROW_HEIGHT = 22;
/** Distance from the end, in pixels, that still counts as being at the end. */
const SLACK = 2 * ROW_HEIGHT;

interface Options {
  deploymentId: number;
  log: Log;
  scroller: Readonly<Ref<HTMLElement | null>>;
  wrap: Readonly<Ref<boolean>>;
}

/** The visible part of a log: selects the rows to draw, fetches their lines, follows the end if the user is there. */
export function useLogView({ deploymentId, log, scroller, wrap }: Options) {
  const output = useOutputStore();
  const following = ref(false);
  /** Number of lines when the user stopped following. */
  const left = ref(log.total);
  let lastTop = 0;

  const virtualizer = useVirtualizer(computed(() => ({
    count: log.total,
    getScrollElement: () => scroller.value,
    estimateSize: () => ROW_HEIGHT,
    overscan: 24,
    paddingStart: 8,
    paddingEnd: 8,
  })));
  const rows = computed(() => virtualizer.value.getVirtualItems());
  const height = computed(() => virtualizer.value.getTotalSize());
  /** Indices of the visible lines, without the overscan. */
  const seen = computed(() => virtualizer.value.range);
  const fresh = computed(() => following.value ? 0 : Math.max(0, log.total - left.value));

  watch(following, () => { left.value = log.total; });

  function toEnd(): void {
    const element = scroller.value;
    if (element) element.scrollTop = element.scrollHeight;
  }

  function onScroll(): void {
    const element = scroller.value;
    if (!element) return;
    const distance = element.scrollHeight - element.scrollTop - element.clientHeight;
    if (distance <= SLACK) following.value = true;
    // New lines increase the distance as well; only upward scrolling comes from the user.
    else if (element.scrollTop < lastTop - 1) following.value = false;
    lastTop = element.scrollTop;
  }

  function follow(): void {
    following.value = true;
    toEnd();
  }

  /** Scrolls to line `n` (from 1) and stops following. */
  function show(n: number, align: "center" | "start" = "center"): void {
    following.value = false;
    lastTop = 0;
    virtualizer.value.scrollToIndex(n - 1, { align });
  }

  /** Returns true if line `n` is visible. */
  function isSeen(n: number): boolean {
    return seen.value !== null && n - 1 >= seen.value.startIndex && n - 1 <= seen.value.endIndex;
  }

  watch(() => [log.version, log.total, wrap.value], async () => {
    await nextTick();
    if (following.value) toEnd();
  });
  watch(wrap, () => virtualizer.value.measure());
  watch(() => [rows.value[0]?.index, rows.value.at(-1)?.index] as const, ([first, last]) => {
    if (first !== undefined && last !== undefined) void output.ensure(deploymentId, first, last);
  }, { immediate: true });

  function measure(element: unknown): void {
    if (wrap.value && element instanceof Element) virtualizer.value.measureElement(element);
  }

  return { rows, height, seen, fresh, following, onScroll, follow, show, isSeen, measure };
}
