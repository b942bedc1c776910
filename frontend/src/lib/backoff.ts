const FIRST_MS = 500;
const LONGEST_MS = 20_000;

/** Milliseconds to wait before attempt 0, 1, 2…: doubling, capped, half of it random so that clients spread. */
export function backoffDelay(attempt: number, random: () => number = Math.random): number {
  const ceiling = Math.min(LONGEST_MS, FIRST_MS * 2 ** attempt);
  return ceiling / 2 + random() * ceiling / 2;
}
