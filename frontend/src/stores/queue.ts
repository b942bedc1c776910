import { defineStore } from "pinia";
import { computed, ref } from "vue";
import { call } from "@/api/errors";
import type { Deployment, WaitingDeployment, Worker } from "@/api/types";
import { isFinal } from "@/lib/states";
import { useDeploymentsStore } from "./deployments";
import { useSessionStore } from "./session";

/** Deployments per page. */
const PAGE = 20;

/** Running deployments, a page of waiting ones, and workers as of the last `load`; states are current. */
export const useQueueStore = defineStore("queue", () => {
  const session = useSessionStore();
  const deployments = useDeploymentsStore();
  const runningIds = ref<number[]>([]);
  const queued = ref<WaitingDeployment[]>([]);
  const workers = ref<Worker[]>([]);
  const loaded = ref(false);
  const runningCount = ref(0);
  const waitingCount = ref(0);
  /** The last IDs of the pages before the current one. */
  const cursors = ref<number[]>([]);
  const nextAfter = ref<number | null>(null);
  const offset = computed(() => cursors.value.length * PAGE);
  const hasNext = computed(() => nextAfter.value !== null);

  const running = computed<Deployment[]>(() =>
    runningIds.value.flatMap(id => deployments.byId[id] ?? []).filter(deployment => !isFinal(deployment)));
  const waiting = computed(() => queued.value.filter(({ id }) => deployments.byId[id]?.state === "queued"));

  async function load(): Promise<void> {
    const after = cursors.value.at(-1) ?? 0;
    const queue = await call(session.api.GET("/queue/", { params: { query: { limit: PAGE, after } } }));
    if (after !== (cursors.value.at(-1) ?? 0)) return; // another page was chosen in the meantime
    if (after > 0 && queue.waiting.length === 0) return previous(); // everything on this page has started
    [...queue.running, ...queue.waiting].forEach(deployments.upsert);
    runningIds.value = queue.running.map(({ id }) => id);
    queued.value = queue.waiting;
    runningCount.value = queue.running_count;
    waitingCount.value = queue.waiting_count;
    nextAfter.value = queue.next_after;
    workers.value = queue.workers;
    loaded.value = true;
  }

  function next(): Promise<void> {
    if (nextAfter.value !== null) cursors.value.push(nextAfter.value);
    return load();
  }

  function previous(): Promise<void> {
    cursors.value.pop();
    return load();
  }

  return {
    running, waiting, runningCount, waitingCount, offset, hasNext, workers, loaded, load, next, previous,
  };
});
