import { existsSync } from "node:fs";
import { defineConfig, devices } from "@playwright/test";
import { SIZES } from "./e2e/looks";
import { PLAIN_HOST, SIGNED_IN, target } from "./e2e/target";

const { baseURL, startsServer } = target();
// The headless shell does not draw a browser window, and needs half of the processor time.
const browsers = [process.env.CHROMIUM_PATH, "/usr/bin/chromium-headless-shell", "/usr/bin/chromium"];
const chromium = browsers.find(path => path && existsSync(path));
// Drawing the animations of running deployments takes most of the processor time of a test. Only the second tier does.
const animations = process.env.ALL_LOOKS ? [] : ["--force-prefers-reduced-motion"];

const desktop = { ...devices["Desktop Chrome"], viewport: SIZES.desktop, colorScheme: "light" as const };
const phone = { ...devices["Desktop Chrome"], viewport: SIZES.phone, colorScheme: "dark" as const, hasTouch: true };

export default defineConfig({
  testDir: "e2e",
  outputDir: "test-results",
  forbidOnly: Boolean(process.env.CI),
  retries: process.env.CI ? 1 : 0,
  // Most tests spend their time waiting for deployments. In CI, the Python suite runs at the same time.
  workers: process.env.CI ? 2 : 3,
  timeout: 150_000,
  expect: { timeout: 15_000 },
  reporter: [["list"], ["html", { open: "never" }]],
  use: {
    baseURL,
    trace: "on-first-retry",
    launchOptions: {
      executablePath: chromium,
      args: [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", ...animations, `--host-resolver-rules=MAP ${PLAIN_HOST} 127.0.0.1`,
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
    // The flows run once; the walk through all pages runs at each width, and looks at both themes.
    { name: "desktop", use: { ...desktop, storageState: SIGNED_IN }, dependencies: ["sign-in"] },
    {
      name: "phone",
      testMatch: "pages.spec.ts",
      use: { ...phone, storageState: SIGNED_IN },
      dependencies: ["sign-in"],
    },
  ],
});
