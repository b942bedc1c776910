import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath, URL } from "node:url";
import tailwindcss from "@tailwindcss/vite";
import vue from "@vitejs/plugin-vue";
import { defineConfig, type Plugin } from "vite";

const api = process.env.API_TARGET ?? "http://127.0.0.1:8000";

/** Paths that belong to the API; everything else of the origin lives below `/ui/`. */
const apiPaths = [
  "/token", "/session", "/users", "/services", "/deployments", "/steps", "/tokens", "/service-token",
  "/config-token", "/workers", "/queue", "/sessions", "/access", "/groups", "/deployed-services", "/health", "/docs", "/openapi.json",
];

/** Assets of the API documentation page (`/docs`) are bundled, because it must not load anything external. */
function swaggerUi(): Plugin {
  const resolve = createRequire(import.meta.url).resolve;
  const files = ["swagger-ui-bundle.js", "swagger-ui.css"];
  const read = (name: string) => readFileSync(resolve(`swagger-ui-dist/${name}`));
  return {
    name: "swagger-ui",
    generateBundle() {
      for (const name of files) this.emitFile({ type: "asset", fileName: `swagger-ui/${name}`, source: read(name) });
    },
    configureServer(server) {
      for (const name of files) {
        server.middlewares.use(`/ui/swagger-ui/${name}`, (_request, response) => {
          response.setHeader("Content-Type", name.endsWith(".css") ? "text/css" : "text/javascript");
          response.end(read(name));
        });
      }
    },
  };
}

export default defineConfig({
  base: "/ui/",
  plugins: [vue(), tailwindcss(), swaggerUi()],
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
