import type {
  Access, Deployment, DeploymentDetail, Grant, HostResult, Inputs, Permission, Reason, Rights, RightsChange, Service,
  ServiceDetail, ServiceRights, Step, Token, User,
} from "@/api/types";

export function aDeployment(fields: Partial<Deployment> = {}): Deployment {
  return {
    id: 5, service_id: 1, service: "shop", origin: "frontend", user: "lena", state: "running",
    created: "2026-01-01T10:00:00Z", started: "2026-01-01T10:00:01Z", finished: null, context: { env: {} }, reason: null,
    exit_code: null, retry_of: null,
    cancel_requested: null, run_ended: fields.finished ?? null, expected_seconds: null, secret_inputs: [], seq: 1,
    lines: 0,
    environment: "", held: null, ...fields,
  };
}

export function aDetail(fields: Partial<DeploymentDetail> = {}): DeploymentDetail {
  return { ...aDeployment(), details: "http://fastdeploy.test/ui/deployments/5", steps: [], waiting: null, hosts: null, ...fields };
}

export function aStep(fields: Partial<Step> = {}): Step {
  return {
    id: 1, deployment_id: 5, name: "Build", description: "", state: "pending", started: null, finished: null,
    message: "", position: 1, run_order: null, first_line: null, last_line: null, detail: {}, hosts: [], expected_seconds: null,
    host_counts: {}, ...fields,
  };
}

export function aResult(fields: Partial<HostResult> = {}): HostResult {
  return {
    step_id: 1, host: "web1", outcome: "ok", duration: null, message: "", diff: null, has_more: false, lines: [], ...fields,
  };
}

export function aService(fields: Partial<Service> = {}): Service {
  return {
    id: 1, name: "shop", data: { description: "The shop" }, last_deployment: null, active_deployments: [],
    active_count: fields.active_deployments?.length ?? 0, ...fields,
  };
}

export function aServiceDetail(fields: Partial<ServiceDetail> = {}): ServiceDetail {
  return { ...aService(), readme: null, plan: [], ...fields };
}

/** The inputs of a service; none by default. */
export function someInputs(fields: Partial<Inputs> = {}): Inputs {
  const summary = { kind: "script" as const, file: "deploy.sh", hosts: null, runs_as: null, ahead: 0 };
  return { schema: null, problems: [], last: null, confirm: false, summary, ...fields };
}

export function aUser(fields: Partial<User> = {}): User {
  return { id: 1, name: "lena", is_admin: false, is_active: true, created: "2026-01-01T10:00:00Z", ...fields };
}

export function rightsOn(
  id: number, permission: Permission | null, fields: Partial<ServiceRights> = {},
): ServiceRights {
  const name = ["shop", "wiki", "blog"][id - 1] ?? `service-${id}`;
  return { id, name, permission, environments: {}, reasons: [], ...fields };
}

/** The rights of a user; by default, those of every user of a new installation. */
export function someRights(fields: Partial<Rights> = {}): Rights {
  const services = [1, 2, 3].map(id => rightsOn(id, "manage"));
  return { user_id: 1, user: "lena", is_admin: false, is_active: true, can_sync: true, services, ...fields };
}

export function aReason(fields: Partial<Reason> = {}): Reason {
  return {
    grant_id: 1, permission: "manage", group: "everyone", tag: null, environment: null, all_services: true, ...fields,
  };
}

/** By default, the grant that a new installation starts with. */
export function aGrant(fields: Partial<Grant> = {}): Grant {
  return {
    id: 1, permission: "manage", user_id: null, group_id: 1, service_id: null, tag: null, environment: null,
    created: "2026-01-01T10:00:00Z", created_by: "", ...fields,
  };
}

export function someAccess(fields: Partial<Access> = {}): Access {
  const groups = [
    { id: 1, name: "everyone", is_everyone: true, members: [] }, { id: 2, name: "team", is_everyone: false, members: [1] },
  ];
  return { groups, grants: [aGrant()], tags: ["web"], ...fields };
}

export function aRightsChange(fields: Partial<RightsChange> = {}): RightsChange {
  return {
    user_id: 1, user: "lena", service_id: 1, service: "shop", environment: null, before: "manage", after: "view",
    ...fields,
  };
}

export function aToken(fields: Partial<Token> = {}): Token {
  return {
    id: "abc", kind: "service", service: "shop", origin: "GitHub", user: "lena", created: "2026-01-01T10:00:00Z",
    expires: "2099-06-01T10:00:00Z", last_used: null, revoked: null, ...fields,
  };
}
