/** File that stores the session cookie between tests. */
export const SIGNED_IN = "test-results/signed-in.json";

/** A name of this machine that browsers do not consider secure, like a server without TLS. */
export const PLAIN_HOST = "fastdeploy.test";

/** The server under test: `BASE_URL`, or one started for these tests (see serve.js). */
export function target() {
  const { BASE_URL, E2E_PORT = "8199" } = process.env;
  return { baseURL: BASE_URL ?? `http://127.0.0.1:${E2E_PORT}`, startsServer: BASE_URL === undefined };
}

/** The user who signs in; created by serve.js. */
export function account() {
  const { FASTDEPLOY_USER = "admin", FASTDEPLOY_PASSWORD = "playwright-only" } = process.env;
  return { user: FASTDEPLOY_USER, password: FASTDEPLOY_PASSWORD };
}
