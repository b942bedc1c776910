import type { components } from "./schema";

type Schemas = components["schemas"];

export type User = Schemas["User"];
export type Session = Schemas["Session"];
export type Service = Schemas["Service"];
export type ServiceDetail = Schemas["ServiceDetail"];
export type Deployment = Schemas["Deployment"];
export type DeploymentDetail = Schemas["DeploymentDetail"];
export type DeploymentState = Deployment["state"];
export type Waiting = Schemas["Waiting"];
export type Step = Schemas["Step"];
export type StepState = Step["state"];
export type HostResult = Schemas["HostResult"];
export type Token = Schemas["Token"];
export type Problem = Schemas["Problem"];
export type SyncReport = Schemas["SyncReport"];
export type OutputLine = Schemas["Line"];
export type OutputPage = Schemas["OutputPage"];
