import { defineStore } from "pinia";
import { shallowReactive } from "vue";
import { call } from "@/api/errors";
import type { WireLine } from "@/api/messages";
import { usePushStore } from "./push";
import { useSessionStore } from "./session";

export interface LogLine {
  n: number;
  at: string;
  text: string;
  stepId: number | null;
}

/**
 * The output of one deployment. Line n lies at index n - 1; lines that nobody has looked at yet are absent and fetched
 * block by block. `version` changes at most once per frame, whatever arrives, so that a flood costs no renderings.
 */
export interface Log {
  readonly lines: (LogLine | undefined)[];
  total: number;
  loaded: number;
  version: number;
  error: unknown;
}

const BLOCK = 1000;

export const useOutputStore = defineStore("output", () => {
  const session = useSessionStore();
  const push = usePushStore();
  const logs = new Map<number, Log>();
  const blocks = new Map<string, Promise<void>>();
  const changed = new Set<Log>();

  function of(deploymentId: number): Log {
    const known = logs.get(deploymentId);
    if (known) return known;
    const log: Log = shallowReactive({ lines: [], total: 0, loaded: 0, version: 0, error: null });
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

  /** Says that the log has this many lines, seen or not. */
  function announce(deploymentId: number, total: number): Log {
    const log = of(deploymentId);
    if (log.lines.length < total) log.lines.length = total;
    log.total = log.lines.length;
    return log;
  }

  async function fetchBlock(deploymentId: number, block: number): Promise<void> {
    const log = of(deploymentId);
    try {
      const page = await call(session.api.GET("/deployments/{deployment_id}/output", {
        params: { path: { deployment_id: deploymentId }, query: { after: block * BLOCK, limit: BLOCK } },
      }));
      for (const { n, at, text, step_id: stepId } of page.lines) put(log, { n, at, text, stepId });
      log.error = null;
    } catch (error) {
      log.error = error;
      blocks.delete(`${deploymentId}:${block}`);
    }
    touch(log);
  }

  function block(deploymentId: number, number: number): Promise<void> {
    const key = `${deploymentId}:${number}`;
    const fetching = blocks.get(key) ?? fetchBlock(deploymentId, number);
    blocks.set(key, fetching);
    return fetching;
  }

  function isMissing(log: Log, number: number): boolean {
    const end = Math.min((number + 1) * BLOCK, log.lines.length);
    for (let at = number * BLOCK; at < end; at += 1) if (log.lines[at] === undefined) return true;
    return false;
  }

  /** Fetches the blocks that hold the lines at `from`…`to` (indices, both included), as far as they are absent. */
  async function ensure(deploymentId: number, from: number, to: number): Promise<void> {
    const log = of(deploymentId);
    const missing: Promise<void>[] = [];
    for (let number = Math.floor(from / BLOCK); number <= Math.floor(to / BLOCK); number += 1) {
      if (isMissing(log, number)) missing.push(block(deploymentId, number));
    }
    await Promise.all(missing);
  }

  /** Fetches everything, one block after the other, until it is complete or `stop` says so: for a search. */
  async function ensureAll(deploymentId: number, stop: () => boolean): Promise<void> {
    const log = of(deploymentId);
    for (let at = 0; at < log.lines.length && !stop() && !log.error; at += BLOCK) {
      await ensure(deploymentId, at, Math.min(at + BLOCK, log.lines.length) - 1);
    }
  }

  function drop(deploymentId: number): void {
    logs.delete(deploymentId);
    for (const key of [...blocks.keys()]) if (key.startsWith(`${deploymentId}:`)) blocks.delete(key);
  }

  return { of, announce, ensure, ensureAll, drop };
});
