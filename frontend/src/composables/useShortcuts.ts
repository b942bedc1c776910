import { onScopeDispose } from "vue";
import { useShortcutsStore, type Shortcut, type ShortcutScope } from "@/stores/shortcuts";

const TYPING = "input:not([type=checkbox], [type=radio], [type=button]), textarea, select, [contenteditable]:not([contenteditable=false])";
/** While one of these is open, keys belong to it. */
const OVERLAYS = "[role=dialog], [role=alertdialog], [role=menu], [role=listbox]";

/** Whether a key pressed there belongs to something that the reader types into or chooses from. */
export function isTyping(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest(TYPING) !== null;
}

/** Keys with which the calling page can be used, as long as it is shown; `?` lists them. */
export function useShortcuts(shortcuts: readonly Shortcut[], scope: ShortcutScope = "page"): void {
  onScopeDispose(useShortcutsStore().register(shortcuts, scope));
}

/** Hands the keys of the whole document to the shortcuts: once, by the application. */
export function useShortcutKeys(): void {
  const store = useShortcutsStore();

  function onKey(event: KeyboardEvent): void {
    if (!store.enabled || event.defaultPrevented) return;
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (isTyping(event.target) || document.querySelector(OVERLAYS)) return;
    if (store.press(event.key)) event.preventDefault();
  }

  document.addEventListener("keydown", onKey);
  onScopeDispose(() => document.removeEventListener("keydown", onKey));
}
