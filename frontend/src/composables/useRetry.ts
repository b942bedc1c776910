import { reactive, ref } from "vue";
import { useRouter } from "vue-router";
import { ApiError, type Fault } from "@/api/errors";
import type { Deployment } from "@/api/types";
import { randomId } from "@/lib/random";
import { useDeploymentsStore } from "@/stores/deployments";
import { useServicesStore } from "@/stores/services";
import { useProblem } from "./useProblem";

export interface RetryNeeds {
  /** Names of the secret inputs to enter again. */
  secrets: string[];
  /** The service requires its name as confirmation. */
  confirm: boolean;
}

function locOf(fault: Fault): string[] {
  return Array.isArray(fault.loc) ? fault.loc.map(String) : [];
}

/** Returns what a server error says is missing: secret inputs, confirmation; null for any other error. */
export function readNeeds(faults: readonly Fault[]): RetryNeeds | null {
  const locs = faults.map(locOf);
  const secrets = locs.flatMap(([body, part, name]) => body === "body" && part === "env" && name ? [name] : []);
  const confirm = locs.some(([body, part]) => body === "body" && part === "confirm");
  return secrets.length > 0 || confirm ? { secrets, confirm } : null;
}

/** Retries a deployment. Asks again for what is not stored: secret inputs and the confirmation. */
export function useRetry(deployment: () => Deployment) {
  const deployments = useDeploymentsStore();
  const services = useServicesStore();
  const router = useRouter();
  const { problem, busy, attempt } = useProblem();
  const asking = ref(false);
  const needs = reactive<RetryNeeds>({ secrets: [], confirm: false });
  let key = randomId();

  function ask(missing: RetryNeeds): void {
    needs.secrets = [...new Set([...needs.secrets, ...missing.secrets])];
    needs.confirm ||= missing.confirm;
    asking.value = true;
  }

  async function send(request: { env?: Record<string, unknown>; confirm?: string }): Promise<void> {
    await attempt(async () => {
      try {
        const started = await deployments.retry(deployment().id, key, request);
        asking.value = false;
        await router.push({ name: "deployment", params: { id: started.id } });
      } catch (error) {
        const missing = error instanceof ApiError && error.status === 422 ? readNeeds(error.faults) : null;
        const first = !asking.value;
        if (missing) ask(missing);
        if (!missing || !first) throw error;
      }
    });
  }

  /** Loads the service config for input titles and confirmation. Without it, the server reports what is missing. */
  async function readService(): Promise<void> {
    const { service_id: id } = deployment();
    if (!services.byId[id]) await attempt(() => services.loadOne(id));
    needs.confirm = services.byId[id]?.data.confirm === true;
  }

  /** Starts the retry, or opens the dialog if something is missing. */
  async function begin(): Promise<void> {
    key = randomId();
    needs.secrets = [...deployment().secret_inputs];
    needs.confirm = false;
    if (needs.secrets.length > 0) await readService();
    problem.value = null;
    if (needs.secrets.length > 0) asking.value = true;
    else await send({});
  }

  return { asking, needs, problem, busy, begin, send };
}
