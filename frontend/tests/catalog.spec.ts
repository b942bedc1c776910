import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { i18n } from "@/i18n";
import en from "@/i18n/en.json";

const SOURCES = join(import.meta.dirname, "../src");

function keysOf(node: object, prefix = ""): string[] {
  return Object.entries(node).flatMap(([key, value]) =>
    typeof value === "string" ? [prefix + key] : keysOf(value as object, `${prefix}${key}.`));
}

const files = readdirSync(SOURCES, { recursive: true, encoding: "utf8" }).filter(name => /\.(vue|ts)$/.test(name));
const source = files.map(name => readFileSync(join(SOURCES, name), "utf8")).join("\n");
const keys = keysOf(en);

/** Keys as the code writes them, with `*` where it fills in a part: t(`state.${state}`) is "state.*". */
const used = [...source.matchAll(/\bt\(\s*(["'`])([^"'`]+)\1|title: "([a-zA-Z]+\.[a-zA-Z]+)"/g)]
  .map(match => (match[2] ?? match[3] ?? "").replace(/\$\{[^}]+\}/g, "*"));
const patterns = [...new Set(used)].map(key => new RegExp(`^${key.replaceAll(".", "\\.").replaceAll("*", "[\\w-]+")}$`));

describe("the text catalog", () => {
  it("has every text that is used", () => {
    const missing = [...new Set(used)].filter((_, index) => !keys.some(key => patterns[index]?.test(key)));
    expect(missing).toEqual([]);
  });

  it("has no unused text", () => {
    const dynamic = (key: string) => key.startsWith("outcome.");
    expect(keys.filter(key => !dynamic(key) && !patterns.some(pattern => pattern.test(key)))).toEqual([]);
  });

  it("is compiled by the message compiler without errors", () => {
    for (const key of keys) expect(() => i18n.global.t(key as "app.name", { n: 2 }, 2)).not.toThrow();
  });

  it("shows braces in the empty state's example", () => {
    expect(i18n.global.t("services.emptyFolder")).toContain("{ \"description\"");
  });
});
