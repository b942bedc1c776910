import { renderLine, START, type State } from "./line";

/** Lines to look back at. Output that leaves colors on for longer is shown without them after a jump. */
const LIMIT = 2000;

/** Returns the state before the line at `index`. `ends` caches the state after each line. */
export function stateBefore(
  lines: readonly ({ text: string } | undefined)[], ends: (State | undefined)[], index: number,
): State {
  let from = index;
  while (from > 0 && index - from < LIMIT && lines[from - 1] && !ends[from - 1]) from -= 1;
  let state = (lines[from - 1] && ends[from - 1]) || START;
  for (; from < index; from += 1) {
    state = renderLine(lines[from]?.text ?? "", state).state;
    ends[from] = state;
  }
  return state;
}
