import { fileURLToPath, URL } from "node:url";
import tailwindcss from "@tailwindcss/vite";
import vue from "@vitejs/plugin-vue";
import { defineConfig } from "vite";

const api = process.env.API_TARGET ?? "http://127.0.0.1:8000";

/** Paths that belong to the API; everything else of the origin lives below `/ui/`. */
const apiPaths = [
  "/token", "/session", "/users", "/services", "/deployments", "/steps", "/tokens", "/service-token",
  "/config-token", "/workers", "/deployed-services", "/health", "/docs", "/openapi.json",
];

export default defineConfig({
  base: "/ui/",
  plugins: [vue(), tailwindcss()],
  resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
  define: {
    __VUE_OPTIONS_API__: "false",
    __VUE_I18N_LEGACY_API__: "false",
    __INTLIFY_PROD_DEVTOOLS__: "false",
  },
  build: { outDir: "../deploy/_web", emptyOutDir: true, assetsInlineLimit: 0, reportCompressedSize: true },
  server: {
    host: "127.0.0.1",
    proxy: Object.fromEntries(apiPaths.map(path => [path, { target: api, ws: path === "/deployments" }])),
  },
});
