import { defineStore } from "pinia";
import { ref } from "vue";
import { call } from "@/api/errors";
import type { User } from "@/api/types";
import { useSessionStore } from "./session";

export interface UserChange {
  password?: string;
  is_admin?: boolean;
  is_active?: boolean;
}

export const useUsersStore = defineStore("users", () => {
  const session = useSessionStore();
  const list = ref<User[]>([]);
  const loaded = ref(false);

  async function load(): Promise<void> {
    list.value = await call(session.api.GET("/users/"));
    loaded.value = true;
  }

  async function create(name: string, password: string, isAdmin: boolean): Promise<void> {
    await call(session.api.POST("/users/", { body: { name, password, is_admin: isAdmin } }));
    await load();
  }

  async function change(id: number, body: UserChange): Promise<void> {
    const changed = await call(session.api.PATCH("/users/{user_id}", { params: { path: { user_id: id } }, body }));
    list.value = list.value.map(user => user.id === id ? changed : user);
  }

  async function changeOwnPassword(current: string, next: string): Promise<void> {
    await call(session.api.POST("/users/me/password", { body: { current, new: next } }));
  }

  return { list, loaded, load, create, change, changeOwnPassword };
});
