import type { Permission } from "@/api/types";

/** Each of them includes the ones before it. */
export const LADDER = ["view", "deploy", "manage"] as const satisfies Permission[];

/** Returns the position of a permission on a service; 0 for none. */
export function rank(permission: Permission | null | undefined): number {
  return LADDER.indexOf(permission as typeof LADDER[number]) + 1;
}

/** Returns true if the holder of a permission on a service also has the other one. */
export function includes(held: Permission | null | undefined, needed: Permission): boolean {
  return needed !== "sync" && rank(held) >= rank(needed);
}
