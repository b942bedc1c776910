/**
 * The server rejected the request or could not be reached (`status` 0). `detail` is the server's message, if any;
 * `faults` are the errors in each part of the body.
 */
export class ApiError extends Error {
  constructor(readonly status: number, readonly detail: string | null, readonly faults: readonly Fault[] = []) {
    super(detail ?? `HTTP ${status}`);
    this.name = "ApiError";
  }
}

export interface Fault {
  loc?: unknown[];
  msg?: unknown;
}

function sentence(fault: Fault): string {
  const field = Array.isArray(fault.loc) ? fault.loc.filter(part => part !== "body").join(".") : "";
  return field ? `${field}: ${String(fault.msg)}` : String(fault.msg);
}

/** Returns one message for `{"detail": text}` and for `{"detail": [{loc, msg}…]}`; null for anything else. */
export function readDetail(body: unknown): string | null {
  if (typeof body !== "object" || body === null || !("detail" in body)) return null;
  const { detail } = body;
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail)) return detail.map(fault => sentence(fault as Fault)).join("; ");
  return null;
}

function readFaults(body: unknown): Fault[] {
  if (typeof body !== "object" || body === null || !("detail" in body)) return [];
  return Array.isArray(body.detail) ? body.detail as Fault[] : [];
}

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** Awaits a call of the API client: returns its data or throws an `ApiError`. */
export async function call<T>(pending: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await pending;
  } catch {
    throw new ApiError(0, null);
  }
  if (!answer.response.ok) {
    throw new ApiError(answer.response.status, readDetail(answer.error), readFaults(answer.error));
  }
  return answer.data as T;
}
