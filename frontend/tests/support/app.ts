import { flushPromises, mount } from "@vue/test-utils";
import { createPinia, setActivePinia, type Pinia } from "pinia";
import { defineComponent, h, type Component } from "vue";
import { createMemoryHistory, createRouter, type Router } from "vue-router";
import { i18n } from "@/i18n";
import { useRightsStore } from "@/stores/rights";
import { useSessionStore } from "@/stores/session";
import { aUser, someRights } from "./data";
import type { FakeServer } from "./network";

const Blank = { render: () => h("div") };

export function createTestRouter(): Router {
  const names = ["services", "service", "deployments", "deployment", "queue", "tokens", "users", "access", "user-access", "profile", "sign-in"];
  const routes = names.map(name => ({ name, path: name === "services" ? "/" : `/${name}/:id?`, component: Blank }));
  return createRouter({ history: createMemoryHistory(), routes });
}

/** Mounts a component like the application: with stores, texts, and routes, attached to the document. */
export async function mountInApp(component: Component, options: { at?: string } = {}) {
  const router = createTestRouter();
  await router.push(options.at ?? "/");
  const wrapper = mount(component, {
    attachTo: document.body,
    global: { plugins: [i18n, router, ...[currentPinia].filter(pinia => pinia !== null)] },
  });
  await flushPromises();
  return { wrapper, router };
}

let currentPinia: Pinia | null = null;

/** Creates new stores for a test. */
export function freshStores(): Pinia {
  currentPinia = createPinia();
  setActivePinia(currentPinia);
  return currentPinia;
}

/** Signs in through the session store. */
export async function signIn(
  server: FakeServer, user = aUser(), rights = someRights({ is_admin: user.is_admin }),
): Promise<void> {
  server
    .json("GET /users/me/rights", rights)
    .json("POST /session", { access_token: "token-1", token_type: "bearer", expires_in: 1800 })
    .json("GET /users/me", user);
  await useSessionStore().signIn(user.name, "secret");
  await useRightsStore().load();
}

/** Runs a composable inside a component, as the application does. */
export async function runInApp<T>(composable: () => T): Promise<{ result: T; unmount: () => void }> {
  let result: T | undefined;
  const { wrapper } = await mountInApp(defineComponent({
    setup() {
      result = composable();
      return () => h("div");
    },
  }));
  return { result: result as T, unmount: () => wrapper.unmount() };
}
