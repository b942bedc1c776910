// Starts the product for the browser tests with an empty data folder, the example services, those in e2e/services,
// and one user. Everything except its log, test-artifacts/server.log, is removed at the end.
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "fastdeploy-browser-"));
const services = join(folder, "services");
cpSync(join(root, "services"), services, { recursive: true });
cpSync(join(import.meta.dirname, "services"), services, { recursive: true });
// A service is deployed one at a time, and several test files run at the same time: each has services of its own.
const copies = { "slow-deployment": "slow", "slow-elsewhere": "slow", "counts-elsewhere": "counts" };
for (const [name, original] of Object.entries(copies)) {
  cpSync(join(import.meta.dirname, "services", original), join(services, name), { recursive: true });
}

const { E2E_PORT = "8199", FASTDEPLOY_USER = "admin", FASTDEPLOY_PASSWORD = "playwright-only", UV = "uv" } = process.env;
const artifacts = join(root, "test-artifacts");
mkdirSync(artifacts, { recursive: true });
const log = openSync(join(artifacts, "server.log"), "w");
const installed = join(root, ".venv/bin/fastdeploy");
const [command, ...prefix] = existsSync(installed) ? [installed] : [UV, "run", "--quiet", "--no-sync", "fastdeploy"];
const server = spawn(command, [
  ...prefix, "serve", "--data-dir", join(folder, "data"), "--services-dir", services, "--port", E2E_PORT,
], {
  cwd: folder,
  stdio: ["ignore", log, log],
  env: { ...process.env, INITIAL_USER_NAME: FASTDEPLOY_USER, INITIAL_USER_PASSWORD: FASTDEPLOY_PASSWORD },
});

for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => server.kill("SIGTERM"));
server.on("exit", (code) => {
  rmSync(folder, { recursive: true, force: true });
  if (code) process.stderr.write("The server ended with an error: see test-artifacts/server.log\n");
  process.exit(code ?? 1);
});
