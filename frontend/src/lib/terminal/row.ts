import stringWidth from "string-width";
import { PLAIN, type Style } from "./style";

/** The width of the terminal for cursor movements. Text can be longer, because lines are never wrapped. */
export const COLUMNS = 1000;
const TAB = 8;
/**
 * The number of cells that one line can move or erase. Movements that exceed it are ignored, so that a hostile line
 * does not take quadratic time.
 */
const BUDGET = 2_000_000;

export type Piece = [text: string, style: Style];

const isAscii = (text: string) => /^[\u0000-\u007f]*$/.test(text);

/** Replaces elements without passing thousands of arguments to `splice`. */
function replaced<T>(list: T[], first: number, size: number, items: readonly T[]): T[] {
  if (first >= list.length) {
    for (const item of items) list.push(item);
    return list;
  }
  if (items.length === size && first + size <= list.length) {
    items.forEach((item, index) => { list[first + index] = item; });
    return list;
  }
  return list.slice(0, first).concat(items, list.slice(first + size));
}

/** The row of cells that a line of output writes to. The second cell of a wide character is empty. */
export class Row {
  private done: Piece[] = [];
  /** Zero-width text before the first cell. */
  private lead = "";
  private texts: string[] = [];
  private styles: Style[] = [];
  private column = 0;
  private saved = 0;
  private budget = BUDGET;

  /** Writes text at the cursor, over the text that is already there. */
  write(text: string, style: Style): void {
    this.pad();
    if (isAscii(text)) {
      this.put([...text], style);
      return;
    }
    let cells: string[] = [];
    for (const { segment } of new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(text)) {
      const width = stringWidth(segment);
      if (width > 0) {
        cells.push(segment, ...Array<string>(width - 1).fill(""));
      } else {
        this.put(cells, style);
        this.annotate(segment);
        cells = [];
      }
    }
    this.put(cells, style);
  }

  /** Appends text without a width to the cell before the cursor. */
  annotate(text: string): void {
    this.pad();
    let before = this.column - 1;
    while (before > 0 && this.texts[before] === "") before -= 1;
    if (before >= 0) this.texts[before] += text;
    else this.lead += text;
  }

  /** Moves the cursor to a column, counting from 0, within the terminal or the text. */
  moveTo(column: number): void {
    this.column = Math.max(0, Math.min(column, Math.max(this.texts.length, COLUMNS - 1)));
  }

  moveBy(columns: number): void {
    this.moveTo(this.column + columns);
  }

  /** Moves the cursor to the next tab stop, or back if the number is negative. */
  tab(count = 1): void {
    const stop = count > 0 ? Math.floor(this.column / TAB) : Math.ceil(this.column / TAB);
    this.moveTo((stop + Math.max(-COLUMNS, Math.min(count, COLUMNS))) * TAB);
  }

  save(): void {
    this.saved = this.column;
  }

  restore(): void {
    this.column = this.saved;
  }

  /** Erases from the cursor to the end (0), from the start to the cursor (1), or everything (2). */
  erase(mode: number): void {
    if (mode === 0) {
      this.split(this.column);
      this.texts.length = this.styles.length = Math.min(this.column, this.texts.length);
    } else if (mode === 1) {
      this.blank(this.column + 1, 0);
      this.lead = "";
    } else if (mode === 2) {
      [this.texts, this.styles, this.lead] = [[], [], ""];
    }
  }

  /** Replaces cells with spaces, from the cursor by default. */
  blank(count: number, first = this.column): void {
    const size = Math.max(0, Math.min(count, this.texts.length - first));
    if (this.canMove(size)) this.replace(first, size, Array<string>(size).fill(" "), PLAIN);
  }

  /** Deletes cells at the cursor, and moves the rest to the left. */
  delete(count: number): void {
    const { length } = this.texts;
    if (this.column < length && this.canMove(length)) this.replace(this.column, Math.min(count, length), [], PLAIN);
  }

  /** Inserts spaces at the cursor. Text that they push out of the terminal is lost. */
  insert(count: number): void {
    const { length } = this.texts;
    const limit = Math.max(length, COLUMNS);
    const size = Math.min(count, limit - this.column);
    if (this.column >= length || !this.canMove(length + size)) return;
    this.replace(this.column, 0, Array<string>(size).fill(" "), PLAIN);
    this.texts.length = this.styles.length = Math.min(limit, this.texts.length);
  }

  /** Continues on another row. Keeps the text of this one, separated by a space. */
  leave(): void {
    if (this.texts.length || this.lead) {
      if (this.done.length) this.done.push([" ", PLAIN]);
      for (const piece of this.current()) this.done.push(piece);
    }
    [this.texts, this.styles, this.lead, this.column, this.saved] = [[], [], "", 0, 0];
  }

  pieces(): Piece[] {
    this.leave();
    return this.done;
  }

  private current(): Piece[] {
    const pieces: Piece[] = this.lead ? [[this.lead, PLAIN]] : [];
    this.texts.forEach((text, at) => pieces.push([text, this.styles[at] ?? PLAIN]));
    return pieces;
  }

  private put(cells: string[], style: Style): void {
    this.replace(this.column, cells.length, cells, style);
    this.column += cells.length;
  }

  private replace(first: number, size: number, cells: string[], style: Style): void {
    this.split(first);
    this.split(first + size);
    this.texts = replaced(this.texts, first, size, cells);
    this.styles = replaced(this.styles, first, size, Array<Style>(cells.length).fill(style));
  }

  /** Replaces a wide character that begins before this cell and ends in or after it with spaces. */
  private split(at: number): void {
    let first = at;
    while (first > 0 && this.texts[first] === "") first -= 1;
    for (let cell = first; first < at && (cell < at || this.texts[cell] === ""); cell += 1) this.texts[cell] = " ";
  }

  private pad(): void {
    const gap = this.column - this.texts.length;
    if (gap <= 0) return;
    const size = this.canMove(gap) ? gap : 0;
    this.replace(this.texts.length, 0, Array<string>(size).fill(" "), PLAIN);
    this.column = this.texts.length;
  }

  private canMove(cells: number): boolean {
    this.budget -= cells;
    return this.budget >= 0;
  }
}
