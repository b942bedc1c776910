import { defineStore } from "pinia";
import { ref } from "vue";
import { call } from "@/api/errors";
import type { Deployment, DeploymentDetail, DeploymentState } from "@/api/types";
import { usePushStore } from "./push";
import { useSessionStore } from "./session";
import { useStepsStore } from "./steps";

export interface DeploymentFilters {
  service_id?: number;
  state?: DeploymentState;
  user?: string;
  origin?: string;
}

export const PAGE_SIZE = 50;

/** Every deployment that the page has heard of, by id; the newest version of each by `seq`. */
export const useDeploymentsStore = defineStore("deployments", () => {
  const session = useSessionStore();
  const push = usePushStore();
  const steps = useStepsStore();
  const byId = ref<Record<number, Deployment>>({});

  function upsert(deployment: Deployment): void {
    const known = byId.value[deployment.id];
    if (!known || deployment.seq >= known.seq) byId.value[deployment.id] = deployment;
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

  /** Starts a deployment. The same `key` never starts two; `confirm` is the service's name as the reader typed it. */
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

  async function retry(id: number): Promise<Deployment> {
    const started = await call(session.api.POST("/deployments/{deployment_id}/retry", {
      params: { path: { deployment_id: id } },
    }));
    upsert(started);
    return started;
  }

  return { byId, fetchPage, fetchOne, start, cancel, retry };
});
