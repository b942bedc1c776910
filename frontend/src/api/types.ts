import type { components } from "./schema";

type Schemas = components["schemas"];

/** Fields that the OpenAPI document leaves open, because scripts and configs may add their own. */
type With<T, Known> = Omit<T, keyof Known> & Known;

export interface ServiceData {
  description?: string;
  deploy_script?: string;
  ansible_playbook?: string;
  steps?: { name: string; description?: string }[];
  inputs?: Record<string, unknown> | boolean;
  confirm?: boolean;
  tags?: string[];
  concurrency?: number;
}

export interface DeploymentContext {
  env?: Record<string, unknown>;
}

export type User = Schemas["UserOut"];
export type Session = Schemas["SessionToken"];
export type Deployment = With<Schemas["DeploymentOut"], { context: DeploymentContext }>;
export type DeploymentDetail = With<Schemas["DeploymentDetails"], { context: DeploymentContext }>;
export type DeploymentState = Schemas["DeploymentState"];
export type Waiting = Schemas["WaitingOut"];
export type Service = With<Schemas["ServiceOut"], {
  data: ServiceData;
  last_deployment: Deployment | null;
  active_deployments: Deployment[];
}>;
export type ServiceDetail = With<Schemas["ServiceDetails"], Service>;
export type Step = Schemas["StepOut"];
export type StepState = Schemas["StepState"];
export type HostResult = Schemas["StepResultOut"];
export type Outcome = Schemas["Outcome"];
export type HostRecap = Schemas["HostRecapOut"];
export type HostSummary = Schemas["HostSummaryOut"];
export type Token = Schemas["TokenOut"];
export type Problem = Schemas["ProblemOut"];
export type SyncReport = Schemas["SyncOut"];
export type Plan = Schemas["PlannedStepOut"];
export type Inputs = Schemas["InputsOut"];
export type DeploymentSummary = Schemas["SummaryOut"];
export type Statistics = Schemas["StatisticsOut"];
export type FinishedDeployment = Schemas["FinishedOut"];
export type Output = Schemas["OutputOut"];
export type Changes = Schemas["ChangesOut"];
export type Change = Schemas["ChangeOut"];
export type Worker = Schemas["WorkerOut"];
export type WaitingDeployment = With<Schemas["WaitingDeployment"], { context: DeploymentContext }>;
export type Permission = Schemas["Permission"];
export type Rights = Schemas["RightsOut"];
export type ServiceRights = Schemas["ServiceRightsOut"];
export type Reason = Schemas["ReasonOut"];
export type Access = Schemas["AccessOut"];
export type Group = Schemas["GroupOut"];
export type Grant = Schemas["GrantOut"];
export type AccessPreview = Schemas["PreviewOut"];
export type RightsChange = Schemas["RightsChangeOut"];
export type BrowserSession = Schemas["SessionOut"];
