import type { components } from "@/api/schema";
import type { Access, AccessPreview, Grant, Group, Permission, RightsChange, Service } from "@/api/types";
import { rank } from "./permissions";

export type AccessChange = Required<components["schemas"]["AccessChangeIn"]>;
export type Member = components["schemas"]["MemberIn"];

/** What a grant says, apart from who gave it. */
export type GrantTerms = Pick<Grant, "permission" | "user_id" | "group_id" | "service_id" | "tag" | "environment">;

/** Changes that have not been applied yet. */
export interface AccessDraft {
  add: GrantTerms[];
  remove: number[];
  join: Member[];
  leave: Member[];
}

export type RowState = "kept" | "added" | "removed";

/** A row of the table of grants. `given` is missing for a grant that has not been added yet. */
export interface GrantRow {
  key: string;
  terms: GrantTerms;
  state: RowState;
  given: Grant | null;
}

export interface MemberRow {
  userId: number;
  state: RowState;
}

export const emptyDraft = (): AccessDraft => ({ add: [], remove: [], join: [], leave: [] });

export function countChanges({ add, remove, join, leave }: AccessDraft): number {
  return add.length + remove.length + join.length + leave.length;
}

export function termsOf({ permission, user_id, group_id, service_id, tag, environment }: GrantTerms): GrantTerms {
  return { permission, user_id, group_id, service_id, tag, environment };
}

/** Returns the same text for grants with the same terms. */
export function keyOf(terms: GrantTerms): string {
  return JSON.stringify(Object.values(termsOf(terms)));
}

const isSame = (a: Member) => (b: Member) => a.group_id === b.group_id && a.user_id === b.user_id;

/** Adds the member to the list, or removes it. */
export function toggleMember(list: readonly Member[], member: Member): Member[] {
  return list.some(isSame(member)) ? list.filter(other => !isSame(member)(other)) : [...list, member];
}

/** Returns the draft without what no longer exists or no longer changes anything. */
export function prune(draft: AccessDraft, access: Access): AccessDraft {
  const grants = new Set(access.grants.map(({ id }) => id));
  const existing = new Set(access.grants.filter(({ id }) => !draft.remove.includes(id)).map(keyOf));
  const groups = new Map(access.groups.map(group => [group.id, new Set(group.members)]));
  return {
    add: draft.add
      .filter(terms => !existing.has(keyOf(terms)) && (terms.group_id === null || groups.has(terms.group_id))),
    remove: draft.remove.filter(id => grants.has(id)),
    join: draft.join.filter(({ group_id, user_id }) => groups.get(group_id)?.has(user_id) === false),
    leave: draft.leave.filter(({ group_id, user_id }) => groups.get(group_id)?.has(user_id)),
  };
}

/** Returns the grants as they are, marked with what the draft does to them, and then those that it adds. */
export function grantRows(access: Access, draft: AccessDraft): GrantRow[] {
  const removed = new Set(draft.remove);
  const stateOf = ({ id }: Grant) => removed.has(id) ? "removed" : "kept";
  const given = access.grants
    .map(grant => ({ key: String(grant.id), terms: termsOf(grant), state: stateOf(grant), given: grant }) as const);
  const added = draft.add.map(terms => ({ key: keyOf(terms), terms, state: "added" as const, given: null }));
  return [...added, ...given];
}

export function memberRows(group: Group, draft: AccessDraft): MemberRow[] {
  const left = new Set(draft.leave.filter(({ group_id: id }) => id === group.id).map(({ user_id: id }) => id));
  const joined = draft.join.filter(({ group_id: id }) => id === group.id);
  return [
    ...joined.map(({ user_id: userId }) => ({ userId, state: "added" as const })),
    ...group.members.map(userId => ({ userId, state: left.has(userId) ? "removed" as const : "kept" as const })),
  ];
}

export interface GrantFilter {
  userId: number | null;
  groupId: number | null;
  service: Pick<Service, "id" | "data"> | null;
}

/** Returns true if a grant applies to the chosen user (directly or through a group), group, and service. */
export function grantMatcher({ userId, groupId, service }: GrantFilter, groups: readonly Group[]) {
  const memberships = new Set(groups
    .filter(({ is_everyone: all, members }) => all || members.includes(userId ?? 0))
    .map(({ id }) => id));
  const ofUser = (terms: GrantTerms) =>
    userId === null || terms.user_id === userId || (terms.group_id !== null && memberships.has(terms.group_id));
  function onService({ permission, service_id: id, tag }: GrantTerms): boolean {
    if (service === null) return true;
    if (permission === "sync") return false;
    return tag === null ? id === null || id === service.id : service.data.tags?.includes(tag) ?? false;
  }
  return (terms: GrantTerms) => ofUser(terms) && (groupId === null || terms.group_id === groupId) && onService(terms);
}

/** How a change affects one user. */
export interface UserChanges {
  userId: number;
  user: string;
  changes: RightsChange[];
}

export interface Effect {
  losses: UserChanges[];
  gains: UserChanges[];
  /** How many changes there are, and how many of them are listed. */
  total: number;
  listed: number;
}

function level(permission: Permission | null): number {
  return permission === "sync" ? 1 : rank(permission);
}

function byUser(changes: readonly RightsChange[]): UserChanges[] {
  const users = new Map<number, UserChanges>();
  for (const change of changes) {
    const { user_id: userId, user } = change;
    const known = users.get(userId) ?? { userId, user, changes: [] };
    known.changes.push(change);
    users.set(userId, known);
  }
  return [...users.values()].sort((a, b) => a.user.localeCompare(b.user));
}

export function effectOf({ changes, total }: AccessPreview): Effect {
  const isLoss = ({ before, after }: RightsChange) => level(after) < level(before);
  return {
    losses: byUser(changes.filter(isLoss)),
    gains: byUser(changes.filter(change => !isLoss(change))),
    total,
    listed: changes.length,
  };
}
