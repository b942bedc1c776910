import { defineStore } from "pinia";
import { ref } from "vue";
import type { Deployment } from "@/api/types";
import { useSessionStore } from "./session";

/** Origins of deployments that people start themselves; they get notified about them. */
const BY_HAND: readonly string[] = ["frontend", "cli"];

/** Deployments to notify the user about: those they started and those they watch. */
export const useWatchedStore = defineStore("watched", () => {
  const session = useSessionStore();
  const choices = ref<Record<number, boolean>>({});

  function has(deployment: Pick<Deployment, "id" | "user" | "origin">): boolean {
    const own = deployment.user === session.user?.name && BY_HAND.includes(deployment.origin);
    return choices.value[deployment.id] ?? own;
  }

  function set(id: number, wanted: boolean): void {
    choices.value = { ...choices.value, [id]: wanted };
  }

  return { has, set };
});
