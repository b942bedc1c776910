import { defineStore } from "pinia";
import { shallowReactive } from "vue";
import { call } from "@/api/errors";
import type { HostRecap, HostResult } from "@/api/types";
import { BAD } from "@/lib/hosts";
import { usePushStore } from "./push";
import { useSessionStore } from "./session";

/** The results of one step by host. `next` is the next page, or null. `version` changes once per frame. */
export interface StepResults {
  readonly byHost: Map<string, HostResult>;
  next: string | null;
  version: number;
}

const PAGE = 500;
/** Failed hosts to fetch for the outcome. */
const FAILURES = 20;

/** Results of steps on hosts: fetched when a step is opened, then kept up to date by messages. */
export const useHostsStore = defineStore("hosts", () => {
  const session = useSessionStore();
  const push = usePushStore();
  const steps = new Map<number, StepResults>();
  const changed = new Set<StepResults>();

  function touch(results: StepResults): void {
    if (changed.size === 0) requestAnimationFrame(() => {
      for (const each of changed) each.version += 1;
      changed.clear();
    });
    changed.add(results);
  }

  push.on("host", ({ type: _type, seq: _seq, deployment_id: _deployment, ...result }) => {
    const known = steps.get(result.step_id);
    if (!known) return;
    known.byHost.set(result.host, result);
    touch(known);
  });

  function of(stepId: number): StepResults {
    const known = steps.get(stepId);
    if (known) return known;
    const results: StepResults = shallowReactive({ byHost: new Map<string, HostResult>(), next: null, version: 0 });
    steps.set(stepId, results);
    return results;
  }

  /** Fetches the first page of a step's results, or the next one. */
  async function load(deploymentId: number, stepId: number): Promise<void> {
    const known = of(stepId);
    const page = await call(session.api.GET("/deployments/{deployment_id}/hosts", {
      params: {
        path: { deployment_id: deploymentId },
        query: { step_id: stepId, limit: PAGE, after: known.next ?? undefined },
      },
    }));
    // What a message brought in the meantime is newer.
    for (const result of page.results) if (!known.byHost.has(result.host)) known.byHost.set(result.host, result);
    known.next = page.next_after;
    known.version += 1;
  }

  function drop(stepId: number): void {
    steps.delete(stepId);
  }

  /** Fetches one result with its whole message and diff. */
  function fetchResult(deploymentId: number, stepId: number, host: string): Promise<HostResult> {
    return call(session.api.GET("/deployments/{deployment_id}/hosts/result", {
      params: { path: { deployment_id: deploymentId }, query: { step_id: stepId, host } },
    }));
  }

  async function fetchFailures(deploymentId: number, stepId?: number): Promise<HostResult[]> {
    const page = await call(session.api.GET("/deployments/{deployment_id}/hosts", {
      params: {
        path: { deployment_id: deploymentId },
        query: { outcome: [...BAD], limit: FAILURES, step_id: stepId },
      },
    }));
    return page.results;
  }

  function fetchRecap(
    deploymentId: number, q: string, after: string | null,
  ): Promise<{ hosts: HostRecap[]; next_after: string | null }> {
    return call(session.api.GET("/deployments/{deployment_id}/recap", {
      params: { path: { deployment_id: deploymentId }, query: { q, after: after ?? undefined, limit: PAGE } },
    }));
  }

  return { of, load, drop, fetchResult, fetchFailures, fetchRecap };
});
