import { computed, onScopeDispose, ref, watch } from "vue";
import type { Deployment } from "@/api/types";
import { matches } from "@/lib/filters";
import { PAGE_SIZE, useDeploymentsStore, type DeploymentFilters } from "@/stores/deployments";
import { usePushStore } from "@/stores/push";
import { useProblem } from "./useProblem";
import { useResync } from "./useResync";

/**
 * The newest matching deployments, page by page, and new ones as they appear. Listed deployments stay, in their
 * newest version, even if they no longer match the filter, so that rows don't vanish under the pointer. While
 * `reading` returns true, new ones are only counted (`fresh`) until `showFresh` is called, so rows don't move.
 */
export function useDeploymentList(filters: () => DeploymentFilters, reading: () => boolean = () => false) {
  const store = useDeploymentsStore();
  const push = usePushStore();
  const { problem, busy, attempt } = useProblem();
  const ids = ref(new Set<number>());
  const parked = ref(new Set<number>());
  const loaded = ref(false);
  const complete = ref(false);
  let generation = 0;

  const list = computed(() => [...ids.value]
    .sort((a, b) => b - a)
    .flatMap(id => store.byId[id] ?? []));

  function include(page: Deployment[]): void {
    for (const { id } of page) ids.value.add(id);
  }

  function appear({ id }: Deployment): void {
    if (ids.value.has(id)) return;
    (reading() && ids.value.size > 0 ? parked : ids).value.add(id);
  }

  function showFresh(): void {
    for (const id of parked.value) ids.value.add(id);
    parked.value = new Set();
  }

  async function loadFirst(): Promise<void> {
    const current = ++generation;
    const page = await store.fetchPage(filters());
    if (current !== generation) return;
    ids.value = new Set();
    parked.value = new Set();
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

  /** Adds new deployments at the top; older pages that are already loaded stay. */
  async function refresh(): Promise<void> {
    const current = generation;
    const page = await store.fetchPage(filters());
    if (current === generation) page.forEach(appear);
  }

  /** Rows of other filters would be wrong: show none, and the error. */
  async function reload(): Promise<void> {
    if (!await attempt(loadFirst)) loaded.value = false;
  }

  watch(filters, () => void reload(), { immediate: true, deep: true });
  useResync(refresh);
  onScopeDispose(push.on("deployment", (message) => {
    if (matches(message, filters())) appear(message);
  }));
  // Its deployments may have become invisible with it.
  onScopeDispose(push.on("service", ({ id, deleted }) => {
    if (deleted && list.value.some(({ service_id: of }) => of === id)) void reload();
  }));

  const fresh = computed(() => parked.value.size);
  return { list, loaded, complete, fresh, problem, busy, loadMore, showFresh, reload };
}
