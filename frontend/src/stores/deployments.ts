import { createEventHook } from "@vueuse/core";
import { defineStore } from "pinia";
import { ref } from "vue";
import { call } from "@/api/errors";
import type { Changes, Deployment, DeploymentDetail, DeploymentState } from "@/api/types";
import { isFinal } from "@/lib/states";
import { usePushStore } from "./push";
import { useSessionStore } from "./session";
import { useStepsStore } from "./steps";

export interface DeploymentFilters {
  service_id?: number;
  state?: DeploymentState[];
  user?: string;
  origin?: string;
  /** Created at or after, and before: ISO 8601. */
  since?: string;
  until?: string;
}

/** Data for a retry that the server has not stored. */
export interface RetryRequest {
  /** The secret inputs. */
  env?: Record<string, unknown>;
  /** The service's name as typed by the user. */
  confirm?: string;
}

export const PAGE_SIZE = 50;

/** Every known deployment by ID, each in its newest version by `seq`. */
export const useDeploymentsStore = defineStore("deployments", () => {
  const session = useSessionStore();
  const push = usePushStore();
  const steps = useStepsStore();
  const byId = ref<Record<number, Deployment>>({});
  /** Triggered whenever a deployment that was queued or running turns out to have ended. */
  const outcome = createEventHook<Deployment>();

  function upsert(deployment: Deployment): void {
    const known = byId.value[deployment.id];
    if (known && deployment.seq < known.seq) return;
    byId.value[deployment.id] = deployment;
    if (known && !isFinal(known) && isFinal(deployment)) void outcome.trigger(deployment);
  }

  push.on("deployment", message => upsert(message));

  async function fetchPage(filters: DeploymentFilters, before?: number): Promise<Deployment[]> {
    const page = await call(session.api.GET("/deployments/", {
      params: { query: { ...filters, before, limit: PAGE_SIZE } },
    }));
    page.forEach(upsert);
    return page;
  }

  async function fetchOne(id: number): Promise<DeploymentDetail> {
    const detail = await call(session.api.GET("/deployments/{deployment_id}", {
      params: { path: { deployment_id: id } },
    }));
    upsert(detail);
    steps.snapshot(id, detail.seq, detail.steps);
    return detail;
  }

  /** Starts a deployment. The same `key` never starts two; `confirm` is the typed service name. */
  async function start(
    serviceId: number, env: Record<string, unknown>, key: string, confirm?: string,
  ): Promise<Deployment> {
    const started = await call(session.api.POST("/services/{service_id}/deployments", {
      params: { path: { service_id: serviceId }, header: { "Idempotency-Key": key } },
      body: { env, origin: "frontend", confirm },
    }));
    upsert(started);
    return started;
  }

  async function cancel(id: number): Promise<void> {
    upsert(await call(session.api.POST("/deployments/{deployment_id}/cancel", {
      params: { path: { deployment_id: id } },
    })));
  }

  /** Retries it. The same `key` never starts two. */
  async function retry(id: number, key: string, { env = {}, confirm }: RetryRequest = {}): Promise<Deployment> {
    const started = await call(session.api.POST("/deployments/{deployment_id}/retry", {
      params: { path: { deployment_id: id }, header: { "Idempotency-Key": key } },
      body: { env, confirm },
    }));
    upsert(started);
    return started;
  }

  /** Fetches the changes since the service's last success before this deployment. */
  function fetchChanges(id: number): Promise<Changes> {
    return call(session.api.GET("/deployments/{deployment_id}/changes", { params: { path: { deployment_id: id } } }));
  }

  return { byId, upsert, onOutcome: outcome.on, fetchPage, fetchOne, start, cancel, retry, fetchChanges };
});
