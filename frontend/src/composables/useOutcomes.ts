import { useI18n } from "vue-i18n";
import { useRoute, useRouter } from "vue-router";
import { ApiError } from "@/api/errors";
import type { Deployment, DeploymentState } from "@/api/types";
import { isFinal } from "@/lib/states";
import { useDeploymentsStore } from "@/stores/deployments";
import { useNoticesStore, type Toast } from "@/stores/notices";
import { useNotificationsStore } from "@/stores/notifications";
import { useWatchedStore } from "@/stores/watched";
import { useResync } from "./useResync";

const KINDS: Readonly<Record<DeploymentState, Toast["kind"]>> = {
  queued: "info", running: "info", success: "success", failure: "failure", cancelled: "info",
};

/** Notifies users about outcomes of their deployments while they look at something else. */
export function useOutcomes(): void {
  const { t } = useI18n();
  const route = useRoute();
  const router = useRouter();
  const deployments = useDeploymentsStore();
  const watched = useWatchedStore();
  const notices = useNoticesStore();
  const notifications = useNotificationsStore();

  const isShown = (id: number) => route.name === "deployment" && route.params.id === String(id);

  function notify(deployment: Deployment): void {
    const { id, service, state, reason } = deployment;
    if (!watched.has(deployment)) return;
    const to = { name: "deployment", params: { id } };
    const text = t(`toast.${state}`, { service, id });
    if (!isShown(id)) notices.show(text, KINDS[state], { to, text: t("toast.open") });
    if (document.visibilityState === "hidden") {
      notifications.notify(text, state === "success" ? "" : reason ?? "", `fastdeploy-${id}`, () => void router.push(to));
    }
  }

  /** Without a socket, deployments that no page follows have to be polled. */
  async function pollOpen(): Promise<void> {
    const open = Object.values(deployments.byId).filter(known => !isFinal(known) && watched.has(known));
    await Promise.all(open.map(({ id }) => deployments.fetchOne(id).catch((error: unknown) => {
      if (!(error instanceof ApiError)) throw error;
    })));
  }

  deployments.onOutcome(notify);
  useResync(pollOpen);
}
