import { mergeConfig } from "vite";
import vueDevTools from "vite-plugin-vue-devtools";
import viteConfig from "./vite.config.ts";

/** The configuration of `npm run dev`: adds Vue DevTools, which must never be part of a build. */
export default mergeConfig(viteConfig, { plugins: [vueDevTools()] });
