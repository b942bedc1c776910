import createClient, { type Client } from "openapi-fetch";
import type { paths } from "./schema";

export type Api = Client<paths>;

/** Provides the access token. `renew` gets a fresh one after a 401 and returns whether it succeeded. */
export interface Signer {
  token: () => string | null;
  renew: () => Promise<boolean>;
  /** Called after each request with whether the server responded, and its time if it did (milliseconds). */
  reached: (answered: boolean, serverTime?: number) => void;
}

function signed(request: Request, token: string | null): Request {
  if (token) request.headers.set("Authorization", `Bearer ${token}`);
  return request;
}

async function send(request: Request, signer: Signer): Promise<Response> {
  try {
    const response = await fetch(signed(request, signer.token()));
    signer.reached(true, Date.parse(response.headers.get("Date") ?? ""));
    return response;
  } catch (error) {
    signer.reached(false);
    throw error;
  }
}

/** Sends a request. On a 401, renews the token and retries once. */
export async function sendSigned(request: Request, signer: Signer): Promise<Response> {
  const token = signer.token();
  const secondAttempt = request.clone();
  const response = await send(request, signer);
  if (response.status !== 401 || token === null) return response;
  return await signer.renew() ? send(secondAttempt, signer) : response;
}

export function createApi(signer: Signer): Api {
  return createClient<paths>({
    baseUrl: location.origin,
    fetch: request => sendSigned(request, signer),
  });
}
