import { createRouter, createWebHistory, type RouteLocationNormalized, type RouteLocationRaw, type Router } from "vue-router";
import { i18n } from "@/i18n";
import { isMissingPart, reloadOnce } from "@/lib/update";
import { useNoticesStore } from "@/stores/notices";
import { useSessionStore } from "@/stores/session";

declare module "vue-router" {
  interface RouteMeta {
    /** Key of the page title in the catalog. */
    title?: string;
    /** Accessible without signing in. */
    open?: boolean;
  }
}

/** Returns the path to open after signing in; never another site. */
export function returnPath(next: unknown): string {
  return typeof next === "string" && /^\/(?![/\\])/.test(next) ? next : "/";
}

export function signInRoute(from: Pick<RouteLocationNormalized, "fullPath">): RouteLocationRaw {
  return { name: "sign-in", query: from.fullPath === "/" ? {} : { next: from.fullPath } };
}

async function guard(to: RouteLocationNormalized): Promise<RouteLocationRaw | true> {
  const session = useSessionStore();
  await session.restore();
  if (to.name === "sign-in") return session.signedIn ? returnPath(to.query.next) : true;
  return session.signedIn || to.meta.open ? true : signInRoute(to);
}

export function createAppRouter(): Router {
  const router = createRouter({
    history: createWebHistory(import.meta.env.BASE_URL),
    scrollBehavior: (to, from, saved) => saved ?? (to.path === from.path ? false : { top: 0 }),
    routes: [
      { path: "/", name: "services", component: () => import("@/views/ServicesView.vue"), meta: { title: "services.title" } },
      { path: "/sign-in", name: "sign-in", component: () => import("@/views/SignInView.vue"), meta: { title: "signIn.title", open: true } },
      { path: "/services/:id(\\d+)", name: "service", component: () => import("@/views/ServiceView.vue") },
      { path: "/deployments", name: "deployments", component: () => import("@/views/DeploymentsView.vue"), meta: { title: "deployments.title" } },
      { path: "/deployments/:id(\\d+)", name: "deployment", component: () => import("@/views/DeploymentView.vue") },
      { path: "/queue", name: "queue", component: () => import("@/views/QueueView.vue"), meta: { title: "queue.title" } },
      { path: "/tokens", name: "tokens", component: () => import("@/views/TokensView.vue"), meta: { title: "tokens.title" } },
      { path: "/users", name: "users", component: () => import("@/views/UsersView.vue"), meta: { title: "users.title" } },
      { path: "/users/:id(\\d+)/access", name: "user-access", component: () => import("@/views/UserAccessView.vue") },
      { path: "/access", name: "access", component: () => import("@/views/AccessView.vue"), meta: { title: "access.title" } },
      { path: "/profile", name: "profile", component: () => import("@/views/ProfileView.vue"), meta: { title: "profile.title" } },
      { path: "/services", redirect: "/" },
      { path: "/:rest(.*)*", name: "not-found", component: () => import("@/views/NotFoundView.vue"), meta: { title: "app.notFound", open: true } },
    ],
  });
  router.beforeEach(guard);
  router.onError((error, to) => {
    if (!isMissingPart(error)) return;
    if (!reloadOnce(router.resolve(to).href)) useNoticesStore().show(i18n.global.t("error.outdated"), "failure");
  });
  return router;
}
