import { reactive, ref } from "vue";
import { useRouter } from "vue-router";
import { ApiError, type Fault } from "@/api/errors";
import type { Deployment } from "@/api/types";
import { randomId } from "@/lib/random";
import { useDeploymentsStore } from "@/stores/deployments";
import { useServicesStore } from "@/stores/services";
import { useProblem } from "./useProblem";

export interface RetryNeeds {
  /** Names of the secret inputs to be given again. */
  secrets: string[];
  /** The service wants its name typed. */
  confirm: boolean;
}

function locOf(fault: Fault): string[] {
  return Array.isArray(fault.loc) ? fault.loc.map(String) : [];
}

/** What the server misses: secret inputs, the service's name; null when it complains about something else. */
export function readNeeds(faults: readonly Fault[]): RetryNeeds | null {
  const locs = faults.map(locOf);
  const secrets = locs.flatMap(([body, part, name]) => body === "body" && part === "env" && name ? [name] : []);
  const confirm = locs.some(([body, part]) => body === "body" && part === "confirm");
  return secrets.length > 0 || confirm ? { secrets, confirm } : null;
}

/** Starts a deployment once more. What is not stored, secret inputs and the confirmation, is asked for again. */
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

  /** The service's config says how it calls its inputs, and whether it is confirmed. Without it the server asks. */
  async function readService(): Promise<void> {
    const { service_id: id } = deployment();
    if (!services.byId[id]) await attempt(() => services.loadOne(id));
    needs.confirm = services.byId[id]?.data.confirm === true;
  }

  /** Starts it, or opens the dialog when something is needed for that. */
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
