import { defineStore } from "pinia";
import { shallowReactive } from "vue";
import { call } from "@/api/errors";
import type { WireLine } from "@/api/messages";
import type { Output } from "@/api/types";
import { stateBefore } from "@/lib/terminal/states";
import type { State } from "@/lib/terminal/line";
import { usePushStore } from "./push";
import { useSessionStore } from "./session";

export interface LogLine {
  n: number;
  at: string;
  text: string;
  stepId: number | null;
}

/**
 * The output of one deployment. Line n is at index n - 1; lines that have not been viewed are absent and fetched
 * block by block. `version` changes at most once per frame, so that a flood of lines does not cause extra renders.
 */
export interface Log {
  readonly lines: (LogLine | undefined)[];
  /** The terminal's state after each line, as far as it is known. */
  states: (State | undefined)[];
  /** The line that the run has not ended yet. It is shown until line `n` arrives, and never stored. */
  open: LogLine | null;
  total: number;
  loaded: number;
  version: number;
  error: unknown;
}

/** Lines per fetched block. */
const BLOCK = 1000;
/** Lines before the visible ones that are fetched as well, because colors continue across lines. */
const LEAD = 200;
/** Blocks per request when all lines are needed: the server's maximum. */
const BLOCKS_AT_ONCE = 10;
/** Lines per page of search results. */
const SEARCH_LIMIT = 1000;

function emptyLog(): Log {
  return { lines: [], states: [], open: null, total: 0, loaded: 0, version: 0, error: null };
}

const keysOf = (deploymentId: number, first: number, count: number) =>
  Array.from({ length: count }, (_, index) => `${deploymentId}:${first + index}`);

type OnPart = (found: number[], last: number) => boolean;

/**
 * Searches all lines on the server and calls `onPart` with the numbers of the lines found and the last line searched,
 * until it returns false.
 */
async function searchOutput(deploymentId: number, text: string, onPart: OnPart): Promise<void> {
  const session = useSessionStore();
  let after: number | null = 0;
  while (after !== null) {
    const page: Output = await call(session.api.GET("/deployments/{deployment_id}/output", {
      params: { path: { deployment_id: deploymentId }, query: { after, limit: SEARCH_LIMIT, q: text } },
    }));
    after = page.next_after;
    if (!onPart(page.lines.map(({ n }) => n), after ?? page.total)) return;
  }
}

export const useOutputStore = defineStore("output", () => {
  const session = useSessionStore();
  const push = usePushStore();
  const logs = new Map<number, Log>();
  const blocks = new Map<string, Promise<void>>();
  const changed = new Set<Log>();

  function of(deploymentId: number): Log {
    const known = logs.get(deploymentId);
    if (known) return known;
    const log: Log = shallowReactive(emptyLog());
    logs.set(deploymentId, log);
    return log;
  }

  function touch(log: Log): void {
    if (changed.size === 0) requestAnimationFrame(publish);
    changed.add(log);
  }

  function publish(): void {
    for (const log of changed) {
      log.total = log.lines.length;
      log.version += 1;
    }
    changed.clear();
  }

  function put(log: Log, line: LogLine): void {
    if (log.lines[line.n - 1] === undefined) log.loaded += 1;
    log.lines[line.n - 1] = line;
  }

  function append(deploymentId: number, lines: readonly WireLine[]): void {
    const log = of(deploymentId);
    for (const [n, at, text, stepId] of lines) put(log, { n, at, text, stepId });
    touch(log);
  }

  push.on("output", message => append(message.deployment_id, message.lines));

  push.on("open_line", ({ deployment_id: deploymentId, n, at, text }) => {
    const log = of(deploymentId);
    log.open = text ? { n, at, text, stepId: null } : null;
    touch(log);
  });

  /** Sets the total number of lines, loaded or not. */
  function announce(deploymentId: number, total: number): Log {
    const log = of(deploymentId);
    if (log.lines.length < total) log.lines.length = total;
    log.total = log.lines.length;
    return log;
  }

  async function fetchBlocks(deploymentId: number, first: number, count: number): Promise<void> {
    const log = of(deploymentId);
    try {
      const page = await call(session.api.GET("/deployments/{deployment_id}/output", {
        params: { path: { deployment_id: deploymentId }, query: { after: first * BLOCK, limit: count * BLOCK } },
      }));
      for (const { n, at, text, step_id: stepId } of page.lines) put(log, { n, at, text, stepId });
      log.error = null;
      log.states = []; // lines that were absent can change the colors of the lines after them
    } catch (error) {
      log.error = error;
      for (const key of keysOf(deploymentId, first, count)) blocks.delete(key);
    }
    touch(log);
  }

  function block(deploymentId: number, first: number, count = 1): Promise<void> {
    const wanted = keysOf(deploymentId, first, count);
    const known = wanted.map(key => blocks.get(key));
    if (known.every(fetching => fetching !== undefined)) return Promise.all(known).then(() => {});
    const fetching = fetchBlocks(deploymentId, first, count);
    for (const key of wanted) blocks.set(key, fetching);
    return fetching;
  }

  function isMissing(log: Log, number: number): boolean {
    const end = Math.min((number + 1) * BLOCK, log.lines.length);
    for (let at = number * BLOCK; at < end; at += 1) if (log.lines[at] === undefined) return true;
    return false;
  }

  /** Fetches the absent blocks with the lines `from`–`to` (indices, inclusive). */
  async function ensure(deploymentId: number, from: number, to: number): Promise<void> {
    const log = of(deploymentId);
    const missing: Promise<void>[] = [];
    for (let number = Math.floor(Math.max(0, from - LEAD) / BLOCK); number <= Math.floor(to / BLOCK); number += 1) {
      if (isMissing(log, number)) missing.push(block(deploymentId, number));
    }
    await Promise.all(missing);
  }

  /** Fetches all absent lines sequentially until `stop` returns true; used by the search. */
  async function ensureAll(deploymentId: number, stop: () => boolean): Promise<void> {
    const log = of(deploymentId);
    const total = Math.ceil(log.lines.length / BLOCK);
    for (let first = 0; first < total && !stop() && !log.error; first += BLOCKS_AT_ONCE) {
      const count = Math.min(BLOCKS_AT_ONCE, total - first);
      const numbers = Array.from({ length: count }, (_, index) => first + index);
      if (numbers.some(number => isMissing(log, number))) await block(deploymentId, first, count);
    }
  }

  /** Returns the terminal's state before the line at `index`. */
  function stateAt(deploymentId: number, index: number): State {
    const log = of(deploymentId);
    return stateBefore(log.lines, log.states, index);
  }

  function drop(deploymentId: number): void {
    logs.delete(deploymentId);
    for (const key of [...blocks.keys()]) if (key.startsWith(`${deploymentId}:`)) blocks.delete(key);
  }

  return { of, announce, stateAt, ensure, ensureAll, search: searchOutput, drop };
});
