import { useVirtualizer } from "@tanstack/vue-virtual";
import { computed, nextTick, ref, watch, type Ref } from "vue";
import { useOutputStore, type Log } from "@/stores/output";

export const ROW_HEIGHT = 22;
/** Distance from the end, in pixels, that still counts as being at the end. */
const SLACK = 2 * ROW_HEIGHT;
/**
 * Lines in the scrollable window. Browsers limit the height of an element (Firefox to about 17 million pixels), and
 * wrapped lines can be several rows high.
 */
export const WINDOW = 100_000;

interface Options {
  deploymentId: number;
  log: Log;
  scroller: Readonly<Ref<HTMLElement | null>>;
  wrap: Readonly<Ref<boolean>>;
}

/**
 * The visible part of a log: selects the rows to draw, fetches their lines, follows the end if the user is there. The
 * scroll area covers a window of the log, which moves when the user reaches its edge.
 */
export function useLogView({ deploymentId, log, scroller, wrap }: Options) {
  const output = useOutputStore();
  const following = ref(false);
  /** Index of the first line of the window. */
  const base = ref(0);
  /** Number of lines when the user stopped following. */
  const left = ref(log.total);
  let lastTop = 0;

  const count = computed(() => Math.min(WINDOW, Math.max(0, log.total - base.value)));
  const virtualizer = useVirtualizer(computed(() => ({
    count: count.value,
    getScrollElement: () => scroller.value,
    getItemKey: (index: number) => base.value + index,
    estimateSize: () => ROW_HEIGHT,
    overscan: 24,
    paddingStart: 8,
    paddingEnd: 8,
  })));
  const rows = computed(() => virtualizer.value.getVirtualItems()
    .map(({ index, start }) => ({ index: base.value + index, offset: index, start })));
  const height = computed(() => virtualizer.value.getTotalSize());
  /** Indices of the visible lines, without the overscan. */
  const seen = computed(() => {
    const range = virtualizer.value.range;
    return range && { startIndex: base.value + range.startIndex, endIndex: base.value + range.endIndex };
  });
  const fresh = computed(() => following.value ? 0 : Math.max(0, log.total - left.value));

  watch(following, () => { left.value = log.total; });

  function setBase(wanted: number): void {
    base.value = Math.max(0, Math.min(wanted, log.total - WINDOW));
  }

  async function toEnd(): Promise<void> {
    // A window that moves by half its size changes rarely while the log grows.
    if (log.total > base.value + WINDOW) {
      base.value = log.total - WINDOW / 2;
      await nextTick();
    }
    const element = scroller.value;
    if (element) element.scrollTop = element.scrollHeight;
  }

  /** Moves the window by half its size, and keeps the visible lines where they are. */
  async function shift(by: 1 | -1): Promise<void> {
    const first = seen.value?.startIndex ?? 0;
    const before = base.value;
    setBase(before + by * WINDOW / 2);
    if (base.value === before) return;
    await nextTick();
    lastTop = 0;
    virtualizer.value.scrollToIndex(first - base.value, { align: "start" });
  }

  function onScroll(): void {
    const element = scroller.value;
    if (!element) return;
    const distance = element.scrollHeight - element.scrollTop - element.clientHeight;
    const isLast = base.value + count.value >= log.total;
    if (distance <= SLACK && isLast) following.value = true;
    // New lines increase the distance as well; only upward scrolling comes from the user.
    else if (element.scrollTop < lastTop - 1) following.value = false;
    lastTop = element.scrollTop;
    if (following.value) return;
    if (distance <= SLACK && !isLast) void shift(1);
    else if (element.scrollTop <= SLACK && base.value > 0) void shift(-1);
  }

  function follow(): void {
    following.value = true;
    void toEnd();
  }

  /** Scrolls to line `n` (from 1) and stops following. */
  async function show(n: number, align: "center" | "start" = "center"): Promise<void> {
    following.value = false;
    lastTop = 0;
    if (n <= base.value || n > base.value + count.value) {
      setBase(n - WINDOW / 2);
      await nextTick();
    }
    virtualizer.value.scrollToIndex(n - 1 - base.value, { align });
  }

  /** Returns true if line `n` is visible. */
  function isSeen(n: number): boolean {
    return seen.value !== null && n - 1 >= seen.value.startIndex && n - 1 <= seen.value.endIndex;
  }

  watch(() => [log.version, log.total, wrap.value], async () => {
    await nextTick();
    if (following.value) await toEnd();
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
