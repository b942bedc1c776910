import { onScopeDispose, ref } from "vue";

const SHOWN_MS = 2000;

/** The clipboard of pages that have none: plain http:// addresses other than localhost. */
function copyBySelection(text: string): boolean {
  const field = document.createElement("textarea");
  field.value = text;
  field.setAttribute("readonly", "");
  field.className = "sr-only";
  (document.activeElement?.closest("[role=dialog]") ?? document.body).append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

export function useClipboard() {
  const copied = ref(false);
  let timer: ReturnType<typeof setTimeout> | undefined;

  async function write(text: string): Promise<boolean> {
    if (!window.isSecureContext) return copyBySelection(text);
    return navigator.clipboard.writeText(text).then(() => true, () => copyBySelection(text));
  }

  async function copy(text: string): Promise<void> {
    copied.value = await write(text);
    clearTimeout(timer);
    timer = setTimeout(() => { copied.value = false; }, SHOWN_MS);
  }

  onScopeDispose(() => clearTimeout(timer));
  return { copied, copy };
}
