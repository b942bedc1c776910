/** A tab that was opened before an upgrade cannot load the rest of its old version. */

const KEY = "fastdeploy-reloaded";
/** If loading still fails this soon after a reload, reloading again does not help. */
const AGAIN_AFTER_MS = 60_000;

const MESSAGE
  = /dynamically imported module|importing a module script failed|error loading|unable to preload|failed to fetch module/i;

/** Returns true if a part of the page could not be loaded; browsers have different messages for this. */
export function isMissingPart(error: unknown): boolean {
  return error instanceof Error && MESSAGE.test(error.message);
}

/** Opens `href` in the current version of the page. Returns false if that was tried a moment ago. */
export function reloadOnce(
  href: string,
  storage: Storage = sessionStorage,
  go: (href: string) => void = to => location.assign(to),
  now = Date.now(),
): boolean {
  if (now - Number(storage.getItem(KEY) ?? 0) < AGAIN_AFTER_MS) return false;
  storage.setItem(KEY, String(now));
  go(href);
  return true;
}
