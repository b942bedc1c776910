import { useEventListener } from "@vueuse/core";
import { ref, type Ref } from "vue";
import { plainText } from "@/lib/terminal/line";
import { useOutputStore, type Log } from "@/stores/output";

/** Selects and copies the whole log, although only the visible lines are in the document. */
export function useLogSelection(deploymentId: number, log: Log, area: Readonly<Ref<HTMLElement | null>>) {
  const output = useOutputStore();
  const all = ref(false);

  function selectAll(): void {
    if (area.value) getSelection()?.selectAllChildren(area.value);
    all.value = true;
    void output.ensureAll(deploymentId, () => !all.value);
  }

  function clear(): void {
    all.value = false;
  }

  useEventListener(document, "pointerdown", clear);
  useEventListener(document, "copy", (event: ClipboardEvent) => {
    if (!all.value || !event.clipboardData) return;
    event.preventDefault();
    const texts = log.lines.map(line => line ? plainText(line.text) : "");
    event.clipboardData.setData("text/plain", `${texts.join("\n")}\n`);
  });

  return { all, selectAll, clear };
}
