import { refAutoReset } from "@vueuse/core";

const SHOWN_MS = 2000;

/** The fallback on plain http:// addresses other than localhost, where browsers offer no clipboard API. */
function copyBySelection(text: string): boolean {
  const field = document.createElement("textarea");
  field.value = text;
  field.setAttribute("readonly", "");
  field.className = "sr-only";
  // Inside the dialog, if one is open: it would take the focus back from a field outside.
  (document.activeElement?.closest("[role=dialog]") ?? document.body).append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

/**
 * Copies texts; `copied` is true for two seconds after a success. VueUse's function of this name is not used, because
 * its fallback copies nothing from a dialog and still reports success.
 */
export function useClipboard() {
  const copied = refAutoReset(false, SHOWN_MS);

  async function write(text: string): Promise<boolean> {
    if (!window.isSecureContext) return copyBySelection(text);
    return navigator.clipboard.writeText(text).then(() => true, () => copyBySelection(text));
  }

  async function copy(text: string): Promise<void> {
    copied.value = await write(text);
  }

  return { copied, copy };
}
