import { KeyRound, Layers, ListOrdered, Rocket, ShieldCheck, Users } from "@lucide/vue";
import type { Component } from "vue";

export interface Place {
  route: "services" | "deployments" | "queue" | "tokens" | "users" | "access";
  icon: Component;
  adminOnly?: boolean;
}

export const places: readonly Place[] = [
  { route: "services", icon: Layers },
  { route: "deployments", icon: Rocket },
  { route: "queue", icon: ListOrdered },
  { route: "tokens", icon: KeyRound },
  { route: "users", icon: Users, adminOnly: true },
  { route: "access", icon: ShieldCheck, adminOnly: true },
];

/** Pages that highlight a navigation entry without being its target. */
export const placeOf: Readonly<Record<string, Place["route"]>> = {
  service: "services", deployment: "deployments", "user-access": "access",
};
