import { defineStore } from "pinia";
import { computed, ref } from "vue";
import { call } from "@/api/errors";
import type { Deployment, WaitingDeployment, Worker } from "@/api/types";
import { isFinal } from "@/lib/states";
import { useDeploymentsStore } from "./deployments";
import { useSessionStore } from "./session";

/** Running and waiting deployments and workers as of the last `load`; states are current. */
export const useQueueStore = defineStore("queue", () => {
  const session = useSessionStore();
  const deployments = useDeploymentsStore();
  const runningIds = ref<number[]>([]);
  const queued = ref<WaitingDeployment[]>([]);
  const workers = ref<Worker[]>([]);
  const loaded = ref(false);

  const running = computed<Deployment[]>(() =>
    runningIds.value.flatMap(id => deployments.byId[id] ?? []).filter(deployment => !isFinal(deployment)));
  const waiting = computed(() => queued.value.filter(({ id }) => deployments.byId[id]?.state === "queued"));

  async function load(): Promise<void> {
    const queue = await call(session.api.GET("/queue/"));
    [...queue.running, ...queue.waiting].forEach(deployments.upsert);
    runningIds.value = queue.running.map(({ id }) => id);
    queued.value = queue.waiting;
    workers.value = queue.workers;
    loaded.value = true;
  }

  return { running, waiting, workers, loaded, load };
});
