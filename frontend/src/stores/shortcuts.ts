import { refAutoReset, useStorage } from "@vueuse/core";
import { defineStore } from "pinia";
import { computed, ref, shallowRef } from "vue";

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

/** Keyboard shortcuts of the visible pages; the user can turn all of them off. */
export const useShortcutsStore = defineStore("shortcuts", () => {
  const groups = shallowRef<readonly Group[]>([]);
  const choice = useStorage<"on" | "off">(KEY, "on", undefined, { writeDefaults: false });
  const enabled = computed({
    get: () => choice.value !== "off",
    set: (wanted) => { choice.value = wanted ? "on" : "off"; },
  });
  const helpOpen = ref(false);
  /** The keys of a sequence that has begun. */
  const pending = refAutoReset("", SEQUENCE_MS);

  const of = (scope: ShortcutScope) => groups.value.flatMap(group => group.scope === scope ? group.shortcuts : []);
  const everywhere = computed(() => of("everywhere"));
  const page = computed(() => of("page"));

  function register(shortcuts: readonly Shortcut[], scope: ShortcutScope): () => void {
    const group = { scope, shortcuts };
    groups.value = [...groups.value, group];
    return () => { groups.value = groups.value.filter(other => other !== group); };
  }

  function run(keys: string): boolean {
    const known = [...page.value, ...everywhere.value];
    const found = known.find(shortcut => shortcut.keys === keys && shortcut.action);
    const isPrefix = known.some(shortcut => shortcut.keys.startsWith(`${keys} `));
    pending.value = !found && isPrefix ? keys : "";
    found?.action?.();
    return found !== undefined || isPrefix;
  }

  /** Handles a key; returns true if it was a shortcut. */
  function press(key: string): boolean {
    const before = pending.value;
    return (before !== "" && run(`${before} ${key}`)) || run(key);
  }

  return { enabled, helpOpen, everywhere, page, register, press };
});
