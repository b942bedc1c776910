import { defineStore } from "pinia";
import { ref } from "vue";
import { call } from "@/api/errors";
import type { BrowserSession } from "@/api/types";
import { useSessionStore } from "./session";

/** The user's browser sessions: this one first, then the most recently used. */
export const useSessionsStore = defineStore("sessions", () => {
  const session = useSessionStore();
  const list = ref<BrowserSession[]>([]);
  const loaded = ref(false);

  const moment = (one: BrowserSession) => Date.parse(one.last_used ?? one.created);

  async function load(): Promise<void> {
    const sessions = await call(session.api.GET("/sessions/"));
    list.value = sessions.sort((a, b) => Number(b.current) - Number(a.current) || moment(b) - moment(a));
    loaded.value = true;
  }

  async function end(id: string): Promise<void> {
    await call(session.api.DELETE("/sessions/{session_id}", { params: { path: { session_id: id } } }));
    list.value = list.value.filter(one => one.id !== id);
  }

  async function endOthers(): Promise<void> {
    await call(session.api.DELETE("/sessions/"));
    await load();
  }

  return { list, loaded, load, end, endOthers };
});
