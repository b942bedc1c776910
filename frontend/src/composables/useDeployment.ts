import { useIntervalFn } from "@vueuse/core";
import { computed, onScopeDispose, ref, watch } from "vue";
import { ApiError } from "@/api/errors";
import type { DeploymentDetail, HostSummary, Waiting } from "@/api/types";
import { hostsOf } from "@/lib/hosts";
import { isFinal } from "@/lib/states";
import { useDeploymentsStore } from "@/stores/deployments";
import { useOutputStore } from "@/stores/output";
import { usePushStore } from "@/stores/push";
import { useStepsStore } from "@/stores/steps";
import { useProblem } from "./useProblem";
import { useResync } from "./useResync";

/** Messages do not carry the reason for waiting, so it is polled at this interval. */
const WAITING_MS = 3000;

/** Follows one deployment live from its snapshot: the deployment, its steps, its reason for waiting, its output. */
export function useDeployment(id: number) {
  const deployments = useDeploymentsStore();
  const steps = useStepsStore();
  const output = useOutputStore();
  const push = usePushStore();
  const { problem, attempt } = useProblem();
  const waiting = ref<Waiting | null>(null);
  const hosts = ref<HostSummary | null>(null);
  const loaded = ref(false);
  const missing = ref(false);
  /** It was shown, and then its service was removed or the user lost the permission to view it. */
  const gone = ref(false);
  let unfollow: (() => void) | null = null;
  let disposed = false;

  const deployment = computed(() => loaded.value ? deployments.byId[id] : undefined);
  const final = computed(() => deployment.value !== undefined && isFinal(deployment.value));

  async function fetchDetail(): Promise<DeploymentDetail> {
    try {
      return await deployments.fetchOne(id);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) {
        missing.value = true;
        gone.value = loaded.value;
      }
      throw error;
    }
  }

  async function load(): Promise<void> {
    const detail = await fetchDetail();
    if (disposed) return;
    missing.value = false;
    output.announce(id, detail.lines);
    waiting.value = detail.waiting;
    hosts.value = detail.hosts;
    unfollow ??= push.follow(id, detail.seq);
    loaded.value = true;
  }

  const open = () => attempt(load);

  function refresh(): void {
    load().catch((error: unknown) => {
      if (!(error instanceof ApiError)) throw error;
    });
  }

  const polling = useIntervalFn(refresh, WAITING_MS, { immediate: false });

  watch(() => deployment.value?.state === "queued", (queued) => {
    if (queued) polling.resume();
    else polling.pause();
  });
  // Messages do not carry the number of hosts.
  watch(final, (ended, before) => {
    if (ended && before === false && steps.of(id).some(step => hostsOf(step) > 1)) void attempt(load);
  });
  useResync(load);
  const offService = push.on("service", ({ id: serviceId, deleted }) => {
    if (deleted && serviceId === deployment.value?.service_id) refresh();
  });
  onScopeDispose(() => {
    offService();
    disposed = true;
    unfollow?.();
    output.drop(id);
  });
  void open();

  return {
    deployment, steps: computed(() => steps.of(id)), waiting, hosts, final, loaded, missing, gone, problem, open,
  };
}
