import { computed, onScopeDispose, ref, watch } from "vue";
import type { Deployment } from "@/api/types";
import { PAGE_SIZE, useDeploymentsStore, type DeploymentFilters } from "@/stores/deployments";
import { usePushStore } from "@/stores/push";
import { useProblem } from "./useProblem";
import { useResync } from "./useResync";

export function matches(deployment: Deployment, filters: DeploymentFilters): boolean {
  return (Object.keys(filters) as (keyof DeploymentFilters)[])
    .every(key => filters[key] === undefined || deployment[key] === filters[key]);
}

/**
 * The newest deployments that match, page by page, and new ones as they appear. What has been listed stays, in its
 * newest version, even if a change makes it leave the filter: rows don't vanish under the reader's finger.
 */
export function useDeploymentList(filters: () => DeploymentFilters) {
  const store = useDeploymentsStore();
  const push = usePushStore();
  const { problem, busy, attempt } = useProblem();
  const ids = ref(new Set<number>());
  const loaded = ref(false);
  const complete = ref(false);
  let generation = 0;

  const list = computed(() => [...ids.value]
    .sort((a, b) => b - a)
    .flatMap(id => store.byId[id] ?? []));

  function include(page: Deployment[]): void {
    for (const { id } of page) ids.value.add(id);
  }

  async function loadFirst(): Promise<void> {
    const current = ++generation;
    const page = await store.fetchPage(filters());
    if (current !== generation) return;
    ids.value = new Set();
    include(page);
    complete.value = page.length < PAGE_SIZE;
    loaded.value = true;
  }

  function loadMore(): Promise<boolean> {
    const current = generation;
    return attempt(async () => {
      const page = await store.fetchPage(filters(), Math.min(...ids.value));
      if (current !== generation) return;
      include(page);
      complete.value = page.length < PAGE_SIZE;
    });
  }

  /** Takes in what is new at the top; older pages that have been read stay. */
  async function refresh(): Promise<void> {
    const current = generation;
    const page = await store.fetchPage(filters());
    if (current === generation) include(page);
  }

  watch(filters, () => void attempt(loadFirst), { immediate: true, deep: true });
  useResync(refresh);
  onScopeDispose(push.on("deployment", (message) => {
    if (matches(message, filters())) ids.value.add(message.id);
  }));

  return { list, loaded, complete, problem, busy, loadMore, reload: () => attempt(loadFirst) };
}
