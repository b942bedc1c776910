import type { Service } from "@/api/types";

export type Show = "all" | "active" | "failed";
export const SHOWS: readonly Show[] = ["all", "active", "failed"];

/** Returns true if the service's name and description contain every word of the query. */
export function matchesQuery({ name, data }: Service, query: string): boolean {
  const text = `${name} ${data.description ?? ""}`.toLowerCase();
  return query.toLowerCase().split(/\s+/).every(word => text.includes(word));
}

export function isShown({ active_count: active, last_deployment: last }: Service, show: Show): boolean {
  if (show === "active") return active > 0;
  return show === "all" || last?.state === "failure";
}

export function toShow(value: unknown): Show {
  return SHOWS.find(show => show === value) ?? "all";
}
