import { computed } from "vue";
import { useI18n } from "vue-i18n";
import type { GrantTerms } from "@/lib/access";
import { useAccessStore } from "@/stores/access";
import { useServicesStore } from "@/stores/services";
import { useUsersStore } from "@/stores/users";

/** The names of users, groups, and services on the access page. Long lists are read once, not for each row. */
export function useAccessNames() {
  const { t } = useI18n();
  const access = useAccessStore();
  const services = useServicesStore();
  const users = useUsersStore();
  const userNames = computed(() => new Map(users.list.map(({ id, name }) => [id, name])));
  const groups = computed(() => new Map(access.access?.groups.map(group => [group.id, group])));

  const userName = (id: number | null) => userNames.value.get(id ?? 0) ?? t("access.unknown");
  const isEveryone = (id: number | null) => groups.value.get(id ?? 0)?.is_everyone ?? false;

  function whoHas({ user_id: userId, group_id: groupId }: GrantTerms): string {
    return groupId === null ? userName(userId) : groups.value.get(groupId)?.name ?? t("access.unknown");
  }

  function whereValid({ permission, service_id: serviceId, tag }: GrantTerms): string {
    if (permission === "sync") return t("access.site");
    if (tag !== null) return t("access.tagged", { tag });
    if (serviceId === null) return t("access.allServices");
    return services.byId[serviceId]?.name ?? t("access.unknown");
  }

  return { userName, isEveryone, whoHas, whereValid };
}
