import type { Ref } from "vue";

/** Moves keyboard focus through the rows of a list, to the link of the next or previous one. */
export function useRows(list: Readonly<Ref<HTMLElement | null>>) {
  const links = () => [...list.value?.querySelectorAll<HTMLElement>("[data-row-link]") ?? []];

  /** The first row that is not above the viewport, if none has focus yet. */
  function firstVisible(rows: HTMLElement[]): HTMLElement | undefined {
    return rows.find(row => row.getBoundingClientRect().top >= 0) ?? rows[0];
  }

  function move(by: 1 | -1): void {
    const rows = links();
    const at = rows.findIndex(row => row === document.activeElement);
    const target = at < 0 ? firstVisible(rows) : rows[at + by];
    target?.focus({ preventScroll: true });
    target?.scrollIntoView({ block: "nearest" });
  }

  return { next: () => move(1), previous: () => move(-1) };
}
