import { useEventListener } from "@vueuse/core";
import { toValue, watch, type MaybeRefOrGetter } from "vue";
import { useShortcutsStore, type Shortcut, type ShortcutScope } from "@/stores/shortcuts";

const TYPING = "input:not([type=checkbox], [type=radio], [type=button]), textarea, select, [contenteditable]:not([contenteditable=false])";
/** While one of these is open, it handles all keys. */
const OVERLAYS = "[role=dialog], [role=alertdialog], [role=menu], [role=listbox]";

/** Returns true if the element handles keys itself, such as a text field or a select. */
export function isTyping(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest(TYPING) !== null;
}

/** Registers keyboard shortcuts while the calling page is shown; `?` lists them. */
export function useShortcuts(shortcuts: MaybeRefOrGetter<readonly Shortcut[]>, scope: ShortcutScope = "page"): void {
  const store = useShortcutsStore();
  watch(() => toValue(shortcuts), (current, _before, onCleanup) => {
    onCleanup(store.register(current, scope));
  }, { immediate: true });
}

/** Forwards the document's key events to the shortcuts. Called once, by the application. */
export function useShortcutKeys(): void {
  const store = useShortcutsStore();

  useEventListener(document, "keydown", (event) => {
    if (!store.enabled || event.defaultPrevented) return;
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (isTyping(event.target) || document.querySelector(OVERLAYS)) return;
    if (store.press(event.key)) event.preventDefault();
  });
}
