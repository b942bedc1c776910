import { reactive, ref } from "vue";
import { useRouter } from "vue-router";
import { ApiError, type Fault } from "@/api/errors";
import type { Deployment } from "@/api/types";
import { fromEnv } from "@/lib/extraValues";
import { isTooLarge } from "@/lib/inputs/fields";
import { randomId } from "@/lib/random";
import { useDeploymentsStore } from "@/stores/deployments";
import { useDraftsStore } from "@/stores/drafts";
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
  const drafts = useDraftsStore();
  const services = useServicesStore();
  const router = useRouter();
  const { problem, busy, attempt } = useProblem();
  const asking = ref(false);
  const needs = reactive<RetryNeeds>({ secrets: [], confirm: false });
  let key = randomId();

  /** Asks for what is missing. Returns false if the dialog asks for it already. */
  function ask(missing: RetryNeeds): boolean {
    const known = JSON.stringify(needs);
    needs.secrets = [...new Set([...needs.secrets, ...missing.secrets])];
    needs.confirm ||= missing.confirm;
    return JSON.stringify(needs) !== known;
  }

  async function send(request: { env?: Record<string, unknown>; confirm?: string }): Promise<void> {
    await attempt(async () => {
      try {
        const started = await deployments.retry(deployment().id, key, request);
        asking.value = false;
        await router.push({ name: "deployment", params: { id: started.id } });
      } catch (error) {
        const missing = error instanceof ApiError && error.status === 422 ? readNeeds(error.faults) : null;
        if (!missing || !ask(missing)) throw error;
      }
    });
  }

  /** Loads the service config for input titles and confirmation. Without it, the server reports what is missing. */
  async function readService(): Promise<void> {
    const { service_id: id } = deployment();
    if (!services.byId[id]) await attempt(() => services.loadOne(id));
    needs.confirm = services.byId[id]?.data.confirm === true;
  }

  /** Opens the dialog. A retry never starts at once, because its button appears where the one to cancel was. */
  async function begin(): Promise<void> {
    key = randomId();
    needs.secrets = [...deployment().secret_inputs];
    needs.confirm = false;
    await readService();
    problem.value = null;
    asking.value = true;
  }

  /** Opens the form of the service with the same values, so that they can be changed first. */
  async function edit(): Promise<void> {
    const { service_id: id, context } = deployment();
    await readService();
    const values = Object.fromEntries(Object.entries(context.env ?? {}).filter(([, value]) => !isTooLarge(value)));
    drafts.change(id, services.byId[id]?.data.inputs ? { values } : { extraValues: fromEnv(values) });
    await router.push({ name: "service", params: { id }, hash: "#deploy" });
  }

  return { asking, needs, problem, busy, begin, send, edit };
}
