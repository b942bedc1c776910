/** A range of log lines, both ends inclusive. */
export interface LineRange {
  from: number;
  to: number;
}

/** Parses "#L12" and "#L12-L20" (in either order, the second L is optional); null for anything else. */
export function readLines(hash: string): LineRange | null {
  const match = /^#L(\d{1,9})(?:-L?(\d{1,9}))?$/.exec(hash);
  if (!match) return null;
  const [a, b] = [Number(match[1]), Number(match[2] ?? match[1])];
  return a > 0 && b > 0 ? { from: Math.min(a, b), to: Math.max(a, b) } : null;
}

export function writeLines({ from, to }: LineRange): string {
  return from === to ? `#L${from}` : `#L${from}-L${to}`;
}

/** Returns the range from its first line to the line that was Shift-clicked. */
export function extend(range: LineRange | null, line: number): LineRange {
  if (!range) return { from: line, to: line };
  return { from: Math.min(range.from, line), to: Math.max(range.from, line) };
}

/** Parses "#step-7" to the step's ID. */
export function readStep(hash: string): number | null {
  const match = /^#step-(\d{1,15})$/.exec(hash);
  return match ? Number(match[1]) : null;
}

export function writeStep(id: number): string {
  return `#step-${id}`;
}
