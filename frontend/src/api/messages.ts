import type { Deployment, HostResult, Service, Step } from "./types";

/** Messages that the server sends over the socket and returns from `GET /deployments/{id}/events`. */
export interface DeploymentMessage extends Deployment {
  type: "deployment";
  deployment_id: number;
}

export interface StepMessage extends Step {
  type: "step";
  seq: number;
  deleted: boolean;
}

/** Number, time (ISO 8601), text, step. */
export type WireLine = [n: number, at: string, text: string, stepId: number | null];

export interface OutputMessage {
  type: "output";
  deployment_id: number;
  seq: number;
  lines: WireLine[];
}

/** The result of a step on one host, only for those who follow the deployment. */
export interface HostMessage extends HostResult {
  type: "host";
  deployment_id: number;
  seq: number;
}

/** A message with a position in the order of one deployment. */
export type DeploymentEvent = DeploymentMessage | StepMessage | HostMessage | OutputMessage;

export interface ServiceMessage extends Pick<Service, "id" | "name" | "data"> {
  type: "service";
  deleted: boolean;
}

export interface AuthenticationMessage {
  type: "authentication";
  status: "success" | "failure";
  detail?: string;
}

export interface WarningMessage {
  type: "warning";
  detail: string;
  code?: string;
}

/** The client was too slow and has to subscribe again from its cursor. */
export interface ResumeMessage {
  type: "resume";
  deployment_id: number;
}

/** A line without its newline yet; `n` is the number that it will have. It is not stored and has no `seq`. */
export interface OpenLineMessage {
  type: "open_line";
  deployment_id: number;
  n: number;
  at: string;
  text: string;
}

/** The user's rights have changed. Messages about services that appeared or disappeared follow. */
export interface RightsMessage {
  type: "rights";
}

export interface PingMessage {
  type: "ping";
}

export type ServerMessage
  = | DeploymentEvent | ServiceMessage | AuthenticationMessage | WarningMessage | ResumeMessage | OpenLineMessage
    | RightsMessage | PingMessage;

export type ClientMessage
  = | { access_token: string }
    | { subscribe: { deployment_id: number; after: number } }
    | { unsubscribe: { deployment_id: number } };

export type MessageType = ServerMessage["type"];
export type MessageOf<T extends MessageType> = Extract<ServerMessage, { type: T }>;

export function isDeploymentEvent(message: ServerMessage): message is DeploymentEvent {
  return ["deployment", "step", "host", "output"].includes(message.type);
}

/** Parses one frame; null if it is not a message. Unknown types from a newer server pass through. */
export function parseMessage(frame: string): ServerMessage | null {
  try {
    const message: unknown = JSON.parse(frame);
    const known = typeof message === "object" && message !== null && "type" in message;
    return known ? message as ServerMessage : null;
  } catch {
    return null;
  }
}
