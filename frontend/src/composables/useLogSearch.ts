import { useTimeoutFn } from "@vueuse/core";
import { computed, ref, shallowRef, watch } from "vue";
import { plainText } from "@/lib/terminal/line";
import { useOutputStore, type Log } from "@/stores/output";

const TYPING_MS = 150;
const RESCAN_MS = 300;

/** Returns the numbers of the lines that contain `query`, ignoring case. */
export function findLines(lines: Log["lines"], query: string): number[] {
  const needle = query.toLowerCase();
  const found: number[] = [];
  for (const line of lines) {
    if (line && plainText(line.text).toLowerCase().includes(needle)) found.push(line.n);
  }
  return found;
}

/** Searches a whole log, even while it grows, and fetches the lines that are not loaded yet. */
export function useLogSearch(deploymentId: number, log: Log, show: (n: number) => void) {
  const output = useOutputStore();
  const query = ref("");
  const active = ref("");
  const matches = shallowRef<number[]>([]);
  const current = ref(0);
  const searching = ref(false);

  const line = computed(() => matches.value[current.value] ?? null);

  function scan(): void {
    // Lines that are loaded later can come before the current one, which stays the current one.
    const shown = line.value;
    matches.value = active.value ? findLines(log.lines, active.value) : [];
    current.value = Math.max(0, shown === null ? 0 : matches.value.indexOf(shown));
  }

  async function search(): Promise<void> {
    const wanted = query.value;
    active.value = wanted;
    current.value = 0;
    scan();
    if (line.value !== null) show(line.value);
    if (!wanted) return;
    searching.value = true;
    await output.ensureAll(deploymentId, () => active.value !== wanted);
    if (active.value !== wanted) return;
    searching.value = false;
    const shown = line.value;
    scan();
    if (shown === null && line.value !== null) show(line.value);
  }

  function step(by: number): void {
    const count = matches.value.length;
    if (count === 0) return;
    current.value = (current.value + by + count) % count;
    if (line.value !== null) show(line.value);
  }

  const searchSoon = useTimeoutFn(() => void search(), TYPING_MS, { immediate: false });
  const rescanSoon = useTimeoutFn(scan, RESCAN_MS, { immediate: false });

  watch(query, () => {
    rescanSoon.stop();
    searchSoon.start();
  });
  watch(() => log.version, () => {
    if (active.value && active.value === query.value) rescanSoon.start();
  });

  return { query, active, matches, current, line, searching, next: () => step(1), previous: () => step(-1) };
}
