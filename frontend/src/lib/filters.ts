import type { LocationQuery, LocationQueryRaw } from "vue-router";
import type { DeploymentState } from "@/api/types";
import type { DeploymentFilters } from "@/stores/deployments";

/** The filters as the form and the URL have them: texts, empty for "any". */
export interface FilterTexts {
  service: string;
  state: string;
  user: string;
  origin: string;
}

export const DEPLOYMENT_STATES: readonly DeploymentState[] = ["queued", "running", "success", "failure", "cancelled"];

function text(query: LocationQuery, key: string): string {
  const value = query[key];
  return typeof value === "string" ? value : "";
}

export function readFilters(query: LocationQuery): FilterTexts {
  return { service: text(query, "service"), state: text(query, "state"), user: text(query, "user"), origin: text(query, "origin") };
}

export function writeFilters(filters: FilterTexts): LocationQueryRaw {
  return Object.fromEntries(Object.entries(filters).filter(([, value]) => value !== ""));
}

/** What the API is asked for; values in the URL that make no sense are left out. */
export function toApiFilters({ service, state, user, origin }: FilterTexts): DeploymentFilters {
  const filters: DeploymentFilters = {};
  if (/^\d+$/.test(service)) filters.service_id = Number(service);
  const known = DEPLOYMENT_STATES.find(candidate => candidate === state);
  if (known) filters.state = known;
  if (user) filters.user = user;
  if (origin) filters.origin = origin;
  return filters;
}
