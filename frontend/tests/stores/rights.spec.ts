import { flushPromises } from "@vue/test-utils";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { usePushStore } from "@/stores/push";
import { useRightsStore } from "@/stores/rights";
import { useServicesStore } from "@/stores/services";
import { useSessionStore } from "@/stores/session";
import { freshStores, signIn } from "../support/app";
import { aService, aToken, aUser, rightsOn, someRights } from "../support/data";
import { FakeServer, FakeSocket } from "../support/network";

let server: FakeServer;

beforeEach(() => {
  freshStores();
  FakeSocket.install();
  server = new FakeServer();
});

const services = [
  rightsOn(1, "view"), rightsOn(2, "manage"), rightsOn(3, null, { environments: { staging: "deploy" } }),
];

describe("rights", () => {
  it("include lower permissions, per service and environment", async () => {
    await signIn(server, aUser(), someRights({ can_sync: false, services }));
    const rights = useRightsStore();
    expect([rights.canView(1), rights.canDeploy(1), rights.canManage(1)]).toEqual([true, false, false]);
    expect([rights.canView(2), rights.canDeploy(2, "production"), rights.canManage(2)]).toEqual([true, true, true]);
    expect([rights.canView(3), rights.canView(3, ""), rights.canDeploy(3)]).toEqual([true, false, false]);
    expect([rights.canDeploy(3, "staging"), rights.canDeploy(3, "production")]).toEqual([true, false]);
    expect([rights.canView(9), rights.canSync, rights.isAdmin]).toEqual([false, false, false]);
  });

  it("let administrators do everything", async () => {
    await signIn(server, aUser({ is_admin: true }), someRights({ is_admin: true, can_sync: false, services: [] }));
    const rights = useRightsStore();
    expect([rights.canManage(9), rights.canSync, rights.isAdmin]).toEqual([true, true, true]);
  });

  it("let creators revoke their tokens, and others with manage", async () => {
    await signIn(server, aUser(), someRights({ services }));
    const rights = useRightsStore();
    expect(rights.canRevoke(aToken({ user: "lena", service: "shop" }))).toBe(true);
    expect(rights.canRevoke(aToken({ user: "jonas", service: "shop" }))).toBe(false);
    expect(rights.canRevoke(aToken({ user: "jonas", service: "wiki" }))).toBe(true);
    expect(rights.canRevoke(aToken({ user: "jonas", service: null }))).toBe(false);
  });

  it("are loaded again, like the lists, when the server says that they have changed", async () => {
    await signIn(server, aUser(), someRights({ services: [rightsOn(1, "manage")] }));
    const resync = vi.fn();
    usePushStore().onResync(resync);
    usePushStore().start();
    FakeSocket.last.welcome();
    expect(resync).not.toHaveBeenCalled();
    server.json("GET /users/me/rights", someRights({ can_sync: false, services: [rightsOn(1, "view")] }));
    FakeSocket.last.say({ type: "rights" });
    await flushPromises();
    const rights = useRightsStore();
    expect([rights.canView(1), rights.canDeploy(1), rights.canSync]).toEqual([true, false, false]);
    expect(resync).toHaveBeenCalledTimes(1);
    usePushStore().stop();
  });

  it("are loaded again after a reconnection", async () => {
    await signIn(server, aUser(), someRights({ services: [rightsOn(1, "manage")] }));
    usePushStore().start();
    FakeSocket.last.welcome();
    server.json("GET /users/me/rights", someRights({ services: [] }));
    vi.useFakeTimers();
    FakeSocket.last.breakOff();
    await vi.advanceTimersByTimeAsync(60_000);
    FakeSocket.last.welcome();
    await vi.advanceTimersByTimeAsync(0);
    expect(useRightsStore().canView(1)).toBe(false);
    usePushStore().stop();
    vi.useRealTimers();
  });

  it("are loaded again when services appear", async () => {
    await signIn(server, aUser(), someRights({ services: [] }));
    usePushStore().start();
    FakeSocket.last.welcome();
    server.json("GET /users/me/rights", someRights({ services: [rightsOn(1, "deploy")] }));
    vi.useFakeTimers();
    FakeSocket.last.say({ type: "service", id: 1, name: "shop", data: {}, deleted: false });
    await vi.advanceTimersByTimeAsync(1000);
    expect(useRightsStore().canDeploy(1)).toBe(true);
    usePushStore().stop();
    vi.useRealTimers();
  });

  it("are kept if they cannot be loaded again", async () => {
    await signIn(server);
    server.on("GET /users/me/rights", () => "unreachable");
    await useRightsStore().load();
    expect(useRightsStore().canManage(1)).toBe(true);
  });

  it("end with the session, and so does what was loaded", async () => {
    await signIn(server);
    server.json("GET /services/", [aService()]);
    await useServicesStore().load();
    useSessionStore().forget();
    await flushPromises();
    expect([useRightsStore().loaded, useRightsStore().canView(1)]).toEqual([false, false]);
    expect(useServicesStore().list).toEqual([]);
  });
});
