const FIRST_MS = 500;
const MAX_MS = 20_000;

/** Returns the milliseconds to wait before attempt 0, 1, 2…: exponential, capped, half of it random jitter. */
export function backoffDelay(attempt: number, random: () => number = Math.random): number {
  const ceiling = Math.min(MAX_MS, FIRST_MS * 2 ** attempt);
  return ceiling / 2 + random() * ceiling / 2;
}
