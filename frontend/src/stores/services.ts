import { defineStore } from "pinia";
import { computed, ref, watch } from "vue";
import { ApiError, call } from "@/api/errors";
import type { DeploymentMessage } from "@/api/messages";
import type { Deployment, Inputs, Plan, Problem, Service, ServiceDetail, Statistics, SyncReport } from "@/api/types";
import { FINAL_STATES, isFinal } from "@/lib/states";
import { usePushStore } from "./push";
import { useSessionStore } from "./session";

function newer(a: Deployment | null, b: Deployment): Deployment {
  return a !== null && (a.id > b.id || (a.id === b.id && a.seq > b.seq)) ? a : b;
}

/** The server also sends only some of the queued and running deployments of a service. */
const MAX_ACTIVE = 20;

function runningFirst(a: Deployment, b: Deployment): number {
  return Number(a.state === "queued") - Number(b.state === "queued") || a.id - b.id;
}

/** Returns true for the first message of a deployment. */
function isNew({ state, seq }: Deployment): boolean {
  return state === "queued" && seq <= 1;
}

/** Returns the service after a change of one of its deployments. */
export function withDeployment(service: Service, deployment: Deployment): Service {
  const others = service.active_deployments.filter(active => active.id !== deployment.id);
  const active = isFinal(deployment) ? others : [...others, deployment].sort(runningFirst).slice(0, MAX_ACTIVE);
  const isKnown = others.length < service.active_deployments.length;
  const change = isFinal(deployment) ? -Number(isKnown) : Number(!isKnown && isNew(deployment));
  const last = isFinal(deployment) ? newer(service.last_deployment, deployment) : service.last_deployment;
  const count = Math.max(active.length, service.active_count + change);
  return { ...service, active_deployments: active, active_count: count, last_deployment: last };
}

export const useServicesStore = defineStore("services", () => {
  const session = useSessionStore();
  const push = usePushStore();
  const byId = ref<Record<number, Service>>({});
  const readmes = ref<Record<number, string | null>>({});
  const plans = ref<Record<number, Plan[]>>({});
  const problems = ref<Problem[]>([]);
  const loaded = ref(false);
  const list = computed(() => Object.values(byId.value).sort((a, b) => a.name.localeCompare(b.name)));

  // Another user who signs in on this page may view other services.
  watch(() => session.signedIn, (signedIn) => {
    if (signedIn) return;
    byId.value = {};
    problems.value = [];
    loaded.value = false;
  });

  push.on("service", ({ id, name, data, deleted }) => {
    if (deleted) return forget(id);
    const { last_deployment = null, active_deployments = [], active_count = 0 } = byId.value[id] ?? {};
    byId.value = { ...byId.value, [id]: { id, name, data, last_deployment, active_deployments, active_count } };
  });

  push.on("deployment", (message: DeploymentMessage) => {
    const service = byId.value[message.service_id];
    if (service) byId.value[service.id] = withDeployment(service, message);
  });

  /** The server sends the newest deployment, which may not have ended; keep the last one that has. */
  async function withOutcome<S extends Service>(service: S): Promise<S> {
    const last = service.last_deployment;
    if (last === null || isFinal(last)) return service;
    const query = { service_id: service.id, state: [...FINAL_STATES], limit: 1 };
    const [ended = null] = await call(session.api.GET("/deployments/", { params: { query } }));
    return { ...service, last_deployment: ended };
  }

  async function load(): Promise<void> {
    const services = await Promise.all((await call(session.api.GET("/services/"))).map(withOutcome));
    byId.value = Object.fromEntries(services.map(service => [service.id, service]));
    loaded.value = true;
  }

  function forget(id: number): void {
    const { [id]: _gone, ...others } = byId.value;
    byId.value = others;
  }

  async function fetchOne(id: number): Promise<ServiceDetail> {
    try {
      return await call(session.api.GET("/services/{service_id}", { params: { path: { service_id: id } } }));
    } catch (error) {
      // It was removed, or the user can no longer view it.
      if (error instanceof ApiError && error.status === 404) forget(id);
      throw error;
    }
  }

  async function loadOne(id: number): Promise<void> {
    const { readme, plan, ...service }: ServiceDetail = await withOutcome(await fetchOne(id));
    byId.value[id] = service;
    readmes.value[id] = readme;
    plans.value[id] = plan;
  }

  /** Loads the inputs of a service; dynamic choices are evaluated each time. */
  function loadInputs(id: number): Promise<Inputs> {
    return call(session.api.GET("/services/{service_id}/inputs", { params: { path: { service_id: id } } }));
  }

  /** Loads the outcomes of the last `limit` deployments. */
  function loadStatistics(id: number, limit: number): Promise<Statistics> {
    return call(session.api.GET("/services/{service_id}/statistics", {
      params: { path: { service_id: id }, query: { limit } },
    }));
  }

  async function loadProblems(): Promise<void> {
    problems.value = await call(session.api.GET("/services/problems"));
  }

  /** Reloads the service folders; returns what changed and what could not be read. */
  async function sync(): Promise<SyncReport> {
    const report = await call(session.api.POST("/services/sync"));
    problems.value = report.problems;
    await load();
    return report;
  }

  return {
    byId, list, loaded, readmes, plans, problems, load, loadOne, loadInputs, loadStatistics, loadProblems, sync,
  };
});
