import { beforeEach, describe, expect, it, vi } from "vitest";
import { useShortcutKeys, useShortcuts } from "@/composables/useShortcuts";
import { useShortcutsStore, type ShortcutScope } from "@/stores/shortcuts";
import { freshStores, runInApp } from "../support/app";

beforeEach(() => {
  freshStores();
  document.body.replaceChildren();
  localStorage.clear();
});

const press = (key: string, on: Element = document.body, more: KeyboardEventInit = {}) => {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
  on.dispatchEvent(event);
  return event.defaultPrevented;
};

async function listen(keys: Record<string, () => void>, scope?: ShortcutScope) {
  const shortcuts = Object.entries(keys).map(([name, action]) => ({ keys: name, text: name, action }));
  return runInApp(() => useShortcuts(shortcuts, scope));
}

describe("shortcuts", () => {
  beforeEach(async () => {
    await runInApp(() => useShortcutKeys());
  });

  it("act on single keys and on sequences", async () => {
    const [help, services] = [vi.fn(), vi.fn()];
    await listen({ "?": help, "g s": services });
    expect(press("?")).toBe(true);
    expect(press("x")).toBe(false);
    expect(press("g")).toBe(true);
    expect(press("s")).toBe(true);
    expect(press("s")).toBe(false);
    expect([help.mock.calls.length, services.mock.calls.length]).toEqual([1, 1]);
  });

  it("treat a key that does not continue a sequence as a single key", async () => {
    const next = vi.fn();
    await listen({ "g s": vi.fn(), j: next });
    press("g");
    press("j");
    expect(next).toHaveBeenCalledOnce();
  });

  it.each(["input", "textarea", "select"])("leave a %s alone", async (tag) => {
    const action = vi.fn();
    await listen({ j: action });
    const field = document.body.appendChild(document.createElement(tag));
    expect(press("j", field)).toBe(false);
    expect(action).not.toHaveBeenCalled();
  });

  it("ignore key combinations and open dialogs", async () => {
    const action = vi.fn();
    await listen({ j: action });
    press("j", document.body, { ctrlKey: true });
    const dialog = document.body.appendChild(document.createElement("div"));
    dialog.setAttribute("role", "dialog");
    press("j");
    expect(action).not.toHaveBeenCalled();
  });

  it("are removed with their page; a page's own take precedence", async () => {
    const [own, general] = [vi.fn(), vi.fn()];
    await listen({ n: general }, "everywhere");
    const { unmount } = await listen({ n: own });
    press("n");
    unmount();
    press("n");
    expect([own.mock.calls.length, general.mock.calls.length]).toEqual([1, 1]);
  });

  it("can be turned off permanently", async () => {
    const action = vi.fn();
    await listen({ j: action });
    useShortcutsStore().enabled = false;
    await Promise.resolve();
    press("j");
    expect(action).not.toHaveBeenCalled();
    freshStores();
    expect(useShortcutsStore().enabled).toBe(false);
  });
});
