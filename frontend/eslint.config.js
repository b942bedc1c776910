import stylistic from "@stylistic/eslint-plugin";
import { defineConfigWithVueTs, vueTsConfigs } from "@vue/eslint-config-typescript";
import pluginVue from "eslint-plugin-vue";

export default defineConfigWithVueTs(
  { name: "app/files", files: ["**/*.{ts,vue,js}"] },
  { name: "app/ignored", ignores: ["node_modules/**", "src/api/schema.d.ts", "test-results/**", "playwright-report/**", "../deploy/_web/**"] },
  pluginVue.configs["flat/recommended"],
  vueTsConfigs.strict,
  stylistic.configs.customize({ indent: 2, quotes: "double", semi: true, arrowParens: false, braceStyle: "1tbs" }),
  {
    name: "app/rules",
    rules: {
      "no-console": "error",
      eqeqeq: "error",
      "max-lines": ["error", { max: 250 }],
      "max-lines-per-function": ["error", { max: 120 }],
      complexity: ["error", 15],
      "@stylistic/max-len": ["error", { code: 119, ignoreStrings: true, ignoreTemplateLiterals: true, ignoreRegExpLiterals: true }],
      "@stylistic/max-statements-per-line": "off",
      "@stylistic/quote-props": ["error", "as-needed"],
      "vue/max-attributes-per-line": ["error", { singleline: 3, multiline: 1 }],
      "@typescript-eslint/no-unused-vars": ["error", { varsIgnorePattern: "^_", argsIgnorePattern: "^_" }],
      "vue/singleline-html-element-content-newline": "off",
      "vue/multi-word-component-names": "off",
      "vue/require-default-prop": "off",
      "vue/block-order": ["error", { order: ["script", "template", "style"] }],
      "vue/no-v-html": "error",
      "vue/define-macros-order": "error",
      "vue/no-static-inline-styles": "error",
      "vue/html-self-closing": ["error", { html: { void: "never", normal: "always", component: "always" }, svg: "always" }],
    },
  },
  {
    name: "app/templates",
    files: ["**/*.vue"],
    rules: {
      "@stylistic/max-len": "off",
      "vue/max-len": ["error", {
        code: 119, template: 140, ignoreStrings: true, ignoreTemplateLiterals: true, ignoreRegExpLiterals: true,
        ignoreHTMLAttributeValues: true, ignoreHTMLTextContents: true, ignorePattern: "^import ",
      }],
    },
  },
  {
    name: "app/tests",
    files: ["tests/**", "e2e/**", "*.config.*"],
    rules: { "max-lines-per-function": "off" },
  },
);
