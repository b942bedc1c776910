import type { LocationQuery, LocationQueryRaw } from "vue-router";
import type { Deployment } from "@/api/types";
import type { DeploymentFilters } from "@/stores/deployments";
import { DEPLOYMENT_STATES } from "./states";

/** The filters as strings, as in the form and the URL; empty means "any". */
export interface FilterTexts {
  service: string;
  state: string[];
  user: string;
  origin: string;
  /** "24h", "7d", "30d", or the first day: "2026-01-31". */
  since: string;
  /** A date; includes that day. */
  until: string;
}

export const NO_FILTERS: Readonly<FilterTexts> = { service: "", state: [], user: "", origin: "", since: "", until: "" };

const HOUR = 3_600_000;
const SPANS: Readonly<Record<string, number>> = { "24h": 24 * HOUR, "7d": 7 * 24 * HOUR, "30d": 30 * 24 * HOUR };
const DATE = /^\d{4}-\d{2}-\d{2}$/;

export function isSpan(since: string): boolean {
  return since in SPANS;
}

function text(query: LocationQuery, key: string): string {
  const value = query[key];
  return typeof value === "string" ? value : "";
}

function texts(query: LocationQuery, key: string): string[] {
  const value = query[key];
  return [value].flat().filter(part => typeof part === "string" && part !== "") as string[];
}

export function readFilters(query: LocationQuery): FilterTexts {
  return {
    service: text(query, "service"),
    state: texts(query, "state"),
    user: text(query, "user"),
    origin: text(query, "origin"),
    since: text(query, "since"),
    until: text(query, "until"),
  };
}

export function writeFilters(filters: FilterTexts): LocationQueryRaw {
  return Object.fromEntries(Object.entries(filters).filter(([, value]) => value.length > 0));
}

/** Returns how many filters are set; a time range counts as one. */
export function countFilters({ since, until, ...others }: FilterTexts): number {
  return Object.values(others).filter(value => value.length > 0).length + Number(since !== "" || until !== "");
}

/** Returns the start of a day, plus `days`, in the user's time zone; null if the text is not a date. */
function startOf(date: string, days = 0): string | null {
  if (!DATE.test(date)) return null;
  const [year = 0, month = 1, day = 1] = date.split("-").map(Number);
  const start = new Date(year, month - 1, day + days);
  return Number.isNaN(start.getTime()) ? null : start.toISOString();
}

/** Returns the query for the API; invalid values from the URL are dropped. `now` is in milliseconds. */
export function toApiFilters(filters: FilterTexts, now: number): DeploymentFilters {
  const { service, state, user, origin, since, until } = filters;
  const wanted: DeploymentFilters = {};
  if (/^\d+$/.test(service)) wanted.service_id = Number(service);
  const states = DEPLOYMENT_STATES.filter(known => state.includes(known));
  if (states.length) wanted.state = states;
  if (user) wanted.user = user;
  if (origin) wanted.origin = origin;
  const span = SPANS[since];
  const from = span === undefined ? startOf(since) : new Date(now - span).toISOString();
  const to = startOf(until, 1);
  if (from) wanted.since = from;
  if (to) wanted.until = to;
  return wanted;
}

/** Returns true if the server would list the deployment. */
export function matches(deployment: Deployment, filters: DeploymentFilters): boolean {
  const { service_id: service, state, user, origin, since, until } = filters;
  const created = Date.parse(deployment.created);
  return (service === undefined || deployment.service_id === service)
    && (state === undefined || state.includes(deployment.state))
    && (user === undefined || deployment.user === user)
    && (origin === undefined || deployment.origin === origin)
    && (since === undefined || created >= Date.parse(since))
    && (until === undefined || created < Date.parse(until));
}
