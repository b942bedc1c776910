import { existsSync } from "node:fs";
import { defineConfig, devices } from "@playwright/test";
import { SIGNED_IN, target } from "./e2e/target";

const { baseURL, startsServer } = target();
const chromium = process.env.CHROMIUM_PATH ?? "/usr/bin/chromium";

const desktop = { ...devices["Desktop Chrome"], viewport: { width: 1280, height: 860 } };
const phone = { ...devices["Desktop Chrome"], viewport: { width: 360, height: 740 }, hasTouch: true };

/** The flows run once; the walk through all pages runs in each theme and at each width. */
const looks = [
  { name: "phone-light", use: { ...phone, colorScheme: "light" as const } },
  { name: "desktop-dark", use: { ...desktop, colorScheme: "dark" as const } },
  { name: "phone-dark", use: { ...phone, colorScheme: "dark" as const } },
].map(project => ({
  ...project,
  testMatch: "pages.spec.ts",
  use: { ...project.use, storageState: SIGNED_IN },
  dependencies: ["sign-in"],
}));

export default defineConfig({
  testDir: "e2e",
  outputDir: "test-results",
  forbidOnly: Boolean(process.env.CI),
  retries: process.env.CI ? 1 : 0,
  workers: 2,
  timeout: 150_000,
  expect: { timeout: 15_000 },
  reporter: [["list"], ["html", { open: "never" }]],
  use: {
    baseURL,
    trace: "on-first-retry",
    launchOptions: {
      executablePath: existsSync(chromium) ? chromium : undefined,
      args: [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
      ],
    },
  },
  webServer: startsServer
    ? {
        command: "node e2e/serve.js",
        url: `${baseURL}/health/ready`,
        timeout: 120_000,
        gracefulShutdown: { signal: "SIGTERM", timeout: 20_000 },
      }
    : undefined,
  projects: [
    { name: "sign-in", testMatch: "sign-in.setup.ts", use: desktop },
    {
      name: "desktop-light",
      use: { ...desktop, colorScheme: "light", storageState: SIGNED_IN },
      dependencies: ["sign-in"],
    },
    ...looks,
  ],
});
