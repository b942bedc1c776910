import { defineStore } from "pinia";
import { computed, ref, shallowRef, watch } from "vue";

export interface Shortcut {
  /** Keys as `KeyboardEvent.key` names them; one after the other with a space between: "g s". */
  keys: string;
  /** Description shown in the help. */
  text: string;
  /** Absent if the browser handles the key and the help only lists it. */
  action?: () => void;
}

export type ShortcutScope = "everywhere" | "page";

interface Group {
  scope: ShortcutScope;
  shortcuts: readonly Shortcut[];
}

const KEY = "fastdeploy.shortcuts";
/** Maximum time between the keys of a sequence. */
const SEQUENCE_MS = 1200;

function remembered(): boolean {
  try {
    return localStorage.getItem(KEY) !== "off";
  } catch {
    return true;
  }
}

function remember(enabled: boolean): void {
  try {
    if (enabled) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, "off");
  } catch {
    // Storage is blocked (private window): the choice lasts until the page is closed.
  }
}

/** Keyboard shortcuts of the visible pages; the user can turn all of them off. */
export const useShortcutsStore = defineStore("shortcuts", () => {
  const groups = shallowRef<readonly Group[]>([]);
  const enabled = ref(remembered());
  const helpOpen = ref(false);
  let begun = "";
  let timer: ReturnType<typeof setTimeout> | undefined;

  const of = (scope: ShortcutScope) => groups.value.flatMap(group => group.scope === scope ? group.shortcuts : []);
  const everywhere = computed(() => of("everywhere"));
  const page = computed(() => of("page"));
  watch(enabled, remember);

  function register(shortcuts: readonly Shortcut[], scope: ShortcutScope): () => void {
    const group = { scope, shortcuts };
    groups.value = [...groups.value, group];
    return () => { groups.value = groups.value.filter(other => other !== group); };
  }

  function begin(keys: string): void {
    clearTimeout(timer);
    begun = keys;
    if (keys) timer = setTimeout(() => { begun = ""; }, SEQUENCE_MS);
  }

  function run(keys: string): boolean {
    const known = [...page.value, ...everywhere.value];
    const found = known.find(shortcut => shortcut.keys === keys && shortcut.action);
    const goesOn = known.some(shortcut => shortcut.keys.startsWith(`${keys} `));
    begin(!found && goesOn ? keys : "");
    found?.action?.();
    return found !== undefined || goesOn;
  }

  /** Handles a key; returns true if it was a shortcut. */
  function press(key: string): boolean {
    const before = begun;
    return (before !== "" && run(`${before} ${key}`)) || run(key);
  }

  return { enabled, helpOpen, everywhere, page, register, press };
});
