import { beforeEach, describe, expect, it } from "vitest";
import { effectOf, grantMatcher, grantRows, type GrantTerms } from "@/lib/access";
import { useAccessStore } from "@/stores/access";
import { freshStores, signIn } from "../support/app";
import { aGrant, aRightsChange, aService, aUser, someAccess } from "../support/data";
import { FakeServer } from "../support/network";

let server: FakeServer;

beforeEach(async () => {
  freshStores();
  server = new FakeServer();
  await signIn(server, aUser({ is_admin: true }));
  server.json("GET /access/", someAccess()).json("POST /access/preview", { changes: [], total: 0 });
  await useAccessStore().load();
});

const terms = (fields: Partial<GrantTerms> = {}): GrantTerms => ({
  permission: "view", user_id: null, group_id: 1, service_id: null, tag: null, environment: null, ...fields,
});
const row = (id: number) => {
  const { access, draft } = useAccessStore();
  const found = access && grantRows(access, draft).find(({ given }) => given?.id === id);
  if (!found) throw new Error(`There is no grant ${id}`);
  return found;
};

describe("a draft", () => {
  it("collects changes, and applies them together", async () => {
    const access = useAccessStore();
    access.toggle(row(1));
    expect(access.add(terms())).toBe(true);
    const group = access.access?.groups[1];
    if (group) access.join(group, 2);
    expect(access.changes).toBe(3);
    const body = { add: [terms()], remove: [1], join: [{ group_id: 2, user_id: 2 }], leave: [] };
    await access.preview();
    expect(server.called("POST /access/preview")[0]?.body).toEqual(body);
    expect(server.called("POST /access/")).toHaveLength(0);
    server.json("POST /access/", someAccess({ grants: [aGrant({ id: 3, permission: "view" })] }));
    await access.apply();
    expect(server.called("POST /access/")[0]?.body).toEqual(body);
    expect(access.changes).toBe(0);
    expect(access.access?.grants.map(({ id }) => id)).toEqual([3]);
  });

  it("is kept if it is refused", async () => {
    const access = useAccessStore();
    access.toggle(row(1));
    server.json("POST /access/", { detail: "Grant 1 not found" }, 404);
    await expect(access.apply()).rejects.toThrow("Grant 1 not found");
    expect(access.draft.remove).toEqual([1]);
  });

  it("refuses a grant that exists, and restores one that was removed", () => {
    const access = useAccessStore();
    expect(access.add(terms({ permission: "manage" }))).toBe(false);
    access.toggle(row(1));
    expect(access.add(terms({ permission: "manage" }))).toBe(true);
    expect(access.changes).toBe(0);
  });

  it("undoes single changes", () => {
    const access = useAccessStore();
    access.toggle(row(1));
    access.toggle(row(1));
    access.add(terms());
    const added = access.access && grantRows(access.access, access.draft).find(({ state }) => state === "added");
    if (added) access.toggle(added);
    expect(access.changes).toBe(0);
  });

  it("loses what another administrator has done meanwhile", async () => {
    const access = useAccessStore();
    access.toggle(row(1));
    access.add(terms());
    server.json("GET /access/", someAccess({ grants: [aGrant({ id: 7, permission: "view" })] }));
    await access.load();
    expect(access.changes).toBe(0);
  });
});

describe("deleting a group", () => {
  it("is previewed as the removal of its grants", async () => {
    server.json("GET /access/", someAccess({ grants: [aGrant(), aGrant({ id: 5, group_id: 2 })] }));
    const access = useAccessStore();
    await access.load();
    const team = access.access?.groups[1];
    if (team) await access.previewDeletion(team);
    expect(server.called("POST /access/preview")[0]?.body).toMatchObject({ remove: [5], add: [] });
  });
});

describe("the effect of a change", () => {
  it("separates losses from gains, by user", () => {
    const effect = effectOf({
      changes: [
        aRightsChange({ user_id: 2, user: "jonas", before: null, after: "view" }),
        aRightsChange({ before: "manage", after: "view" }),
        aRightsChange({ service_id: null, service: null, before: "sync", after: null }),
        aRightsChange({ service_id: 2, service: "wiki", before: "view", after: "deploy" }),
      ],
      total: 900,
    });
    expect(effect.losses.map(({ user, changes }) => [user, changes.length])).toEqual([["lena", 2]]);
    expect(effect.gains.map(({ user }) => user)).toEqual(["jonas", "lena"]);
    expect([effect.listed, effect.total]).toEqual([4, 900]);
  });
});

describe("a filter", () => {
  const groups = someAccess().groups;
  const none = { userId: null, groupId: null, service: null };
  const web = aService({ data: { tags: ["web"] } });

  it.each([
    ["the user's own grant", { userId: 2 }, terms({ user_id: 2, group_id: null }), true],
    ["another user's grant", { userId: 2 }, terms({ user_id: 1, group_id: null }), false],
    ["a grant of everyone", { userId: 2 }, terms(), true],
    ["a grant of a group that the user is not in", { userId: 2 }, terms({ group_id: 2 }), false],
    ["a grant of a group that the user is in", { userId: 1 }, terms({ group_id: 2 }), true],
    ["the group's grant", { groupId: 2 }, terms({ group_id: 2 }), true],
    ["another group's grant", { groupId: 2 }, terms(), false],
    ["a grant on all services", { service: web }, terms(), true],
    ["a grant on the service", { service: web }, terms({ service_id: 1 }), true],
    ["a grant on another service", { service: web }, terms({ service_id: 2 }), false],
    ["a grant on its tag", { service: web }, terms({ tag: "web" }), true],
    ["a grant on another tag", { service: web }, terms({ tag: "db" }), false],
    ["the permission to sync", { service: web }, terms({ permission: "sync" }), false],
  ])("finds what applies: %s", (_name, filter, given, found) => {
    expect(grantMatcher({ ...none, ...filter }, groups)(given)).toBe(found);
  });
});
