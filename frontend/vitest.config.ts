import { fileURLToPath } from "node:url";
import { configDefaults, defineConfig, mergeConfig } from "vitest/config";
import viteConfig from "./vite.config.ts";

export default mergeConfig(viteConfig, defineConfig({
  test: {
    environment: "jsdom",
    environmentOptions: { jsdom: { url: "http://fastdeploy.test/ui/" } },
    include: ["tests/**/*.spec.ts"],
    exclude: [...configDefaults.exclude, "e2e/**"],
    root: fileURLToPath(new URL("./", import.meta.url)),
    setupFiles: ["tests/setup.ts"],
    // A busy machine takes longer than the default of 5 s.
    testTimeout: 30_000,
    restoreMocks: true,
    unstubGlobals: true,
  },
}));
