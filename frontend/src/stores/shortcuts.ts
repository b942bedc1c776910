import { defineStore } from "pinia";
import { computed, ref, shallowRef, watch } from "vue";

export interface Shortcut {
  /** Keys as `KeyboardEvent.key` names them; one after the other with a space between: "g s". */
  keys: string;
  /** What it does, as the help shows it. */
  text: string;
  /** Absent for what the browser does by itself, and is only explained. */
  action?: () => void;
}

export type ShortcutScope = "everywhere" | "page";

interface Group {
  scope: ShortcutScope;
  shortcuts: readonly Shortcut[];
}

const KEY = "fastdeploy.shortcuts";
/** The keys of a sequence follow each other within this time. */
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
    // Storage is refused (private window): the choice holds until the page is closed.
  }
}

/** What single keys do, by the pages that are shown; the reader can switch all of them off. */
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

  /** Takes a key; true when it meant something. */
  function press(key: string): boolean {
    const before = begun;
    return (before !== "" && run(`${before} ${key}`)) || run(key);
  }

  return { enabled, helpOpen, everywhere, page, register, press };
});
