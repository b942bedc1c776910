/** Interprets one line of output as a terminal would, without moving to other lines. */
import { Row, type Piece } from "./row";
import { draw, LINE_END, LINK, MOVES, picture, SPECIAL, TOKEN } from "./sequences";
import { number, PLAIN, restyled, sameStyle, type Style } from "./style";

/** What a line leaves to the next one: the style, and the character sets (true: line drawing). */
export interface State {
  readonly style: Style;
  readonly sets: readonly [boolean, boolean];
  readonly shifted: boolean;
}

/** Text in one style. */
export interface Segment {
  text: string;
  style: Style;
}

export interface Rendered {
  segments: Segment[];
  state: State;
}

export const START: State = { style: PLAIN, sets: [false, false], shifted: false };

/** The output of a line without cursor movements, which only appends. It keeps tabs. */
class Flow {
  private readonly list: Piece[] = [];

  write(text: string, style: Style): void {
    this.list.push([text, style]);
  }

  annotate(text: string): void {
    this.list.push([text, this.list.at(-1)?.[1] ?? PLAIN]);
  }

  pieces(): Piece[] {
    return this.list;
  }
}

/** Returns a line as a terminal shows it. `state` is the state at the end of the previous line. */
export function renderLine(line: string, state: State = START): Rendered {
  if (!SPECIAL.test(line)) return { segments: merged([[drawn(line, state), state.style]]), state };
  const text = line.replace(LINE_END, "$1");
  const output = MOVES.test(text) ? new Row() : new Flow();
  let now = state;
  for (const { groups } of text.matchAll(TOKEN)) now = interpret(groups ?? {}, output, now);
  const { link: _, ...style } = now.style;
  return { segments: merged(output.pieces()), state: { ...now, style } };
}

/** Returns the text that a terminal shows for a line. */
export function plainText(line: string): string {
  return SPECIAL.test(line) ? renderLine(line).segments.map(part => part.text).join("") : line;
}

function merged(pieces: Piece[]): Segment[] {
  const segments: Segment[] = [];
  let texts: string[] = [];
  let last = PLAIN;
  const end = () => texts.length && segments.push({ text: texts.join(""), style: last });
  for (const [text, style] of pieces) {
    if (texts.length && !sameStyle(style, last)) {
      end();
      texts = [];
    }
    if (!text) continue;
    texts.push(text);
    last = style;
  }
  end();
  return segments;
}

function drawn(text: string, state: State): string {
  return state.sets[state.shifted ? 1 : 0] ? draw(text) : text;
}

type Groups = Record<string, string | undefined>;

function interpret(token: Groups, output: Row | Flow, state: State): State {
  if (token.text !== undefined) writeText(drawn(token.text, state), output, state.style);
  else if (token.parameters !== undefined) return sequence(token.parameters, token.final ?? "", output, state);
  else if (token.kind !== undefined) return string(token.kind, token.string ?? "", state);
  else if (token.charset !== undefined) return charset(token.set === "(", token.charset === "0", state);
  else if (token.escape !== undefined) return escape(token.escape, output, state);
  else return control(token.control ?? "", output, state);
  return state;
}

function writeText(text: string, output: Row | Flow, style: Style): void {
  if (output instanceof Flow) return output.write(text, style);
  text.split("\t").forEach((part, index) => {
    if (index > 0) output.tab();
    output.write(part, style);
  });
}

function sequence(parameters: string, final: string, output: Row | Flow, state: State): State {
  // A private mode, such as hiding the cursor.
  if (/^[<=>?]/.test(parameters)) return state;
  if (final === "m") return { ...state, style: restyled(state.style, parameters) };
  if (output instanceof Row) CURSOR[final]?.(output, number(parameters.split(";", 1)[0]));
  return state;
}

function string(kind: string, text: string, state: State): State {
  if (kind !== "]" || !text.startsWith("8;")) return state;
  return { ...state, style: { ...state.style, link: LINK.exec(text)?.[1] } };
}

function charset(isFirst: boolean, isDrawing: boolean, state: State): State {
  return { ...state, sets: isFirst ? [isDrawing, state.sets[1]] : [state.sets[0], isDrawing] };
}

function escape(code: string, output: Row | Flow, state: State): State {
  if (output instanceof Row) {
    if (code === "7") output.save();
    else if (code === "8") output.restore();
    else if (/[DEMc]/.test(code)) output.leave();
  }
  return code === "c" ? START : state;
}

function control(code: string, output: Row | Flow, state: State): State {
  if (code === "\u000e" || code === "\u000f") return { ...state, shifted: code === "\u000e" };
  if (output instanceof Flow || !/[\b\v\f\r]/.test(code)) output.annotate(picture(code));
  else if (code === "\r") output.moveTo(0);
  else if (code === "\b") output.moveBy(-1);
  else output.leave();
  return state;
}

const leave = (row: Row) => row.leave();

const CURSOR: Partial<Record<string, (row: Row, n: number) => void>> = {
  "@": (row, n) => row.insert(n || 1),
  C: (row, n) => row.moveBy(n || 1),
  a: (row, n) => row.moveBy(n || 1),
  D: (row, n) => row.moveBy(-(n || 1)),
  G: (row, n) => row.moveTo((n || 1) - 1),
  "`": (row, n) => row.moveTo((n || 1) - 1),
  I: (row, n) => row.tab(n || 1),
  Z: (row, n) => row.tab(-(n || 1)),
  // Erasing the whole screen starts over, but the log keeps what was there.
  J: (row, n) => n < 2 ? row.erase(n) : row.leave(),
  K: (row, n) => row.erase(n),
  P: (row, n) => row.delete(n || 1),
  X: (row, n) => row.blank(n || 1),
  s: row => row.save(),
  u: row => row.restore(),
  A: leave, B: leave, E: leave, F: leave, H: leave, d: leave, f: leave, S: leave, T: leave,
};
