import { defineStore } from "pinia";
import { computed, ref, shallowRef, watch } from "vue";
import { call } from "@/api/errors";
import type { Access, AccessPreview, Group, Rights } from "@/api/types";
import {
  countChanges, emptyDraft, keyOf, prune, toggleMember,
  type AccessChange, type AccessDraft, type GrantRow, type GrantTerms, type Member, type MemberRow,
} from "@/lib/access";
import { useSessionStore } from "./session";

/** Groups and grants, and changes to them: collected as a draft, previewed, and then applied together. */
export const useAccessStore = defineStore("access", () => {
  const session = useSessionStore();
  const access = shallowRef<Access | null>(null);
  const draft = ref<AccessDraft>(emptyDraft());
  const loaded = computed(() => access.value !== null);
  const changes = computed(() => countChanges(draft.value));

  function accept(answer: Access): void {
    access.value = answer;
    draft.value = prune(draft.value, answer);
  }

  async function load(): Promise<void> {
    accept(await call(session.api.GET("/access/")));
  }

  /** Adds a grant to the draft; returns false if it exists already. */
  function add(terms: GrantTerms): boolean {
    const isSame = (other: GrantTerms) => keyOf(other) === keyOf(terms);
    const given = access.value?.grants.find(isSame);
    if (draft.value.add.some(isSame) || (given && !draft.value.remove.includes(given.id))) return false;
    if (given) draft.value.remove = draft.value.remove.filter(id => id !== given.id);
    else draft.value.add = [terms, ...draft.value.add];
    return true;
  }

  /** Removes a grant with the draft, or undoes what the draft does to it. */
  function toggle({ key, given, state }: GrantRow): void {
    if (given === null) draft.value.add = draft.value.add.filter(terms => keyOf(terms) !== key);
    else if (state === "removed") draft.value.remove = draft.value.remove.filter(id => id !== given.id);
    else draft.value.remove = [...draft.value.remove, given.id];
  }

  /** Removes a member with the draft, or undoes what the draft does to them. */
  function toggleMembership(group: Group, { userId, state }: MemberRow): void {
    const member: Member = { group_id: group.id, user_id: userId };
    if (state === "added") draft.value.join = toggleMember(draft.value.join, member);
    else draft.value.leave = toggleMember(draft.value.leave, member);
  }

  function join(group: Group, userId: number): void {
    const isMember = group.members.includes(userId);
    toggleMembership(group, { userId, state: isMember ? "removed" : "added" });
  }

  function discard(): void {
    draft.value = emptyDraft();
  }

  function previewOf(change: Partial<AccessChange>): Promise<AccessPreview> {
    return call(session.api.POST("/access/preview", { body: { ...emptyDraft(), ...change } }));
  }

  const preview = () => previewOf(draft.value);

  /** Returns what deleting a group would do: its grants are deleted with it. */
  function previewDeletion({ id }: Group): Promise<AccessPreview> {
    const grants = (access.value?.grants ?? []).filter(grant => grant.group_id === id);
    return previewOf({ remove: grants.map(grant => grant.id) });
  }

  async function apply(): Promise<void> {
    const answer = await call(session.api.POST("/access/", { body: draft.value }));
    discard();
    accept(answer);
  }

  async function createGroup(name: string): Promise<void> {
    await call(session.api.POST("/groups/", { body: { name } }));
    await load();
  }

  async function renameGroup({ id }: Group, name: string): Promise<void> {
    await call(session.api.PATCH("/groups/{group_id}", { params: { path: { group_id: id } }, body: { name } }));
    await load();
  }

  async function deleteGroup({ id }: Group): Promise<void> {
    await call(session.api.DELETE("/groups/{group_id}", { params: { path: { group_id: id } } }));
    await load();
  }

  function loadRights(userId: number): Promise<Rights> {
    return call(session.api.GET("/users/{user_id}/rights", { params: { path: { user_id: userId } } }));
  }

  watch(() => session.signedIn, (signedIn) => {
    if (signedIn) return;
    access.value = null;
    discard();
  });

  return {
    access, draft, loaded, changes, load, add, toggle, toggleMembership, join, discard, preview, previewDeletion,
    apply, createGroup, renameGroup, deleteGroup, loadRights,
  };
});
