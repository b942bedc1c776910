import { describe, expect, it } from "vitest";
import { activeFields, isChanged, toEnv, type Field, type Values } from "@/lib/inputs/fields";
import type { InputSchema } from "@/lib/inputs/schema";
import { findFaults, matches } from "@/lib/inputs/validation";

const object = (schema: Partial<InputSchema>): InputSchema => ({ type: "object", ...schema });
const fieldsOf = (schema: InputSchema, values: Values = {}) => activeFields(schema, values, matches);
const names = (schema: InputSchema, values: Values = {}) => fieldsOf(schema, values).map(({ name }) => name);
const only = (property: InputSchema, required = false): Field => {
  const [field] = fieldsOf(object({ properties: { it: property }, required: required ? ["it"] : [] }));
  if (!field) throw new Error("There is no field");
  return field;
};

describe("the kinds of fields", () => {
  it.each<[string, InputSchema]>([
    ["text", { type: "string" }],
    ["text", { }],
    ["multiline", { type: "string", format: "multiline" }],
    ["number", { type: "number", minimum: 1 }],
    ["number", { type: "integer" }],
    ["switch", { type: "boolean" }],
    ["choice", { enum: ["a", "b"] }],
    ["choice", { type: "string", oneOf: [{ const: "a", title: "An A" }] }],
    ["choice", { type: "integer", enum: [1, 2] }],
    ["choice", { type: "string", enum: [] }],
    ["choices", { type: "array", items: { enum: ["a"] }, uniqueItems: true }],
    ["date", { type: "string", format: "date" }],
    ["secret", { type: "string", writeOnly: true }],
    ["number", { type: ["integer", "null"] }],
  ])("%s", (kind, schema) => expect(only(schema).kind).toBe(kind));

  it("are labeled with their title or, without one, their name", () => {
    expect(only({ title: "Where to" }).label).toBe("Where to");
    const schema = object({ properties: { target_branch: {}, dryRun: {}, URL: {} } });
    expect(fieldsOf(schema).map(({ label }) => label)).toEqual(["Target branch", "Dry run", "URL"]);
  });

  it("have choices with titles, in any notation", () => {
    expect(only({ oneOf: [{ const: 1, title: "One" }, { const: 2 }] }).choices).toEqual([
      { value: 1, title: "One" }, { value: 2, title: "2" },
    ]);
    const schema = object({
      properties: { hosts: { type: "array", items: { $ref: "#/$defs/host" } } }, $defs: { host: { enum: ["web1"] } },
    });
    expect(fieldsOf(schema)[0]?.choices).toEqual([{ value: "web1", title: "web1" }]);
  });
});

describe("fields that depend on others", () => {
  const schema = object({
    properties: { where: { enum: ["staging", "production"], default: "staging" }, note: { type: "string" } },
    if: { properties: { where: { const: "production" } }, required: ["where"] },
    then: { properties: { ticket: { type: "string" } }, required: ["ticket"] },
    else: { properties: { branch: { type: "string" } } },
  });

  it("appear below the field they depend on", () => {
    expect(names(schema)).toEqual(["where", "branch", "note"]);
    expect(names(schema, { where: "production" })).toEqual(["where", "ticket", "note"]);
    expect(fieldsOf(schema, { where: "production" })[1]?.required).toBe(true);
  });

  it("are not sent while hidden, and keep their values", () => {
    const values = { where: "production", ticket: "T-1", branch: "main" };
    expect(toEnv(fieldsOf(schema, values), values)).toEqual({ where: "production", ticket: "T-1" });
    const back = { ...values, where: "staging" };
    expect(toEnv(fieldsOf(schema, back), back)).toEqual({ where: "staging", branch: "main" });
  });

  it("can be nested, in any part of the schema", () => {
    const chain = object({
      properties: { a: { type: "boolean" } },
      allOf: [
        { if: { properties: { b: { const: "yes" } }, required: ["b"] }, then: { properties: { c: {} } } },
        { if: { properties: { a: { const: true } }, required: ["a"] }, then: { properties: { b: { enum: ["yes", "no"] } } } },
      ],
    });
    expect(names(chain)).toEqual(["a"]);
    expect(names(chain, { a: true, b: "yes" })).toEqual(["a", "b", "c"]);
    expect(names(chain, { a: false, b: "yes" })).toEqual(["a"]);
  });

  it("follow dependentSchemas and dependentRequired", () => {
    const dependent = object({
      properties: { notify: { type: "boolean" }, last: { type: "string" }, reason: { type: "string" } },
      dependentSchemas: { notify: { properties: { mail: { type: "string" } }, required: ["mail"] } },
      dependentRequired: { last: ["reason"] },
    });
    expect(names(dependent)).toEqual(["notify", "last", "reason"]);
    expect(names(dependent, { notify: true })).toEqual(["notify", "mail", "last", "reason"]);
    const reason = (values: Values) => fieldsOf(dependent, values).find(({ name }) => name === "reason")?.required;
    expect(reason({})).toBe(false);
    expect(reason({ last: "x" })).toBe(true);
  });

  it("can be removed and narrowed", () => {
    const narrowed = object({
      properties: { fast: { type: "boolean" }, n: { type: "integer", maximum: 9 }, checks: { type: "boolean" } },
      if: { properties: { fast: { const: true } }, required: ["fast"] },
      then: { properties: { n: { maximum: 2 }, checks: false } },
    });
    expect(names(narrowed, { fast: true })).toEqual(["fast", "n"]);
    expect(fieldsOf(narrowed, { fast: true })[1]?.schema).toEqual({ type: "integer", maximum: 2 });
  });
});

describe("the sent values", () => {
  const sent = (property: InputSchema, value?: unknown, required = false) => {
    const field = only(property, required);
    return toEnv([field], value === undefined ? {} : { it: value }).it;
  };

  it("have the types of their fields", () => {
    expect(sent({ type: "integer" }, "3")).toBe(3);
    expect(sent({ type: "number" }, " 2,5 ")).toBe(2.5);
    expect(sent({ enum: [1, 2] }, 2)).toBe(2);
    expect(sent({ type: "boolean" }, true)).toBe(true);
    expect(sent({ type: "array", items: { enum: ["a"] } }, ["a"])).toEqual(["a"]);
  });

  it("omits empty values", () => {
    for (const property of [{ type: "string" }, { type: "integer" }, { enum: ["a"] }, { type: "string", writeOnly: true }]) {
      expect(sent(property)).toBeUndefined();
    }
    expect(sent({ type: "boolean" })).toBeUndefined();
    expect(sent({ type: "boolean" }, undefined, true)).toBe(false);
  });

  it("includes defaults unless they were cleared", () => {
    expect(sent({ type: "string", default: "main" })).toBe("main");
    expect(sent({ type: "string", default: "main" }, "")).toBe("");
    expect(sent({ type: "boolean", default: true }, false)).toBe(false);
    expect(sent({ type: "array", items: { enum: ["a"] }, default: ["a"] }, [])).toEqual([]);
  });

  it("differ from the initial value of a field", () => {
    const field = only({ type: "string", default: "main" });
    expect(isChanged(field, {})).toBe(false);
    expect(isChanged(field, { it: "main" })).toBe(false);
    expect(isChanged(field, { it: "next" })).toBe(true);
  });
});

describe("errors", () => {
  const fault = (property: InputSchema, value?: unknown, required = false) => {
    const field = only(property, required);
    return findFaults([field], value === undefined ? {} : { it: value }, object({})).it ?? null;
  };

  it.each<[InputSchema, unknown, object]>([
    [{ type: "integer" }, "x", { key: "integer" }],
    [{ type: "integer" }, "1.5", { key: "integer" }],
    [{ type: "number" }, "x", { key: "number" }],
    [{ type: "integer", minimum: 3 }, "2", { key: "minimum", n: 3 }],
    [{ type: "integer", maximum: 3 }, "4", { key: "maximum", n: 3 }],
    [{ type: "number", exclusiveMinimum: 0 }, "0", { key: "above", n: 0 }],
    [{ type: "number", multipleOf: 5 }, "7", { key: "multipleOf", n: 5 }],
    [{ type: "string", minLength: 3 }, "ab", { key: "minLength", n: 3 }],
    [{ type: "string", maxLength: 1 }, "ab", { key: "maxLength", n: 1 }],
    [{ type: "string", pattern: "^v" }, "1", { key: "pattern" }],
    [{ type: "string", format: "date" }, "2026-13-01", { key: "date" }],
    [{ type: "string", enum: ["a"] }, "b", { key: "choose" }],
    [{ type: "boolean", const: true, default: false }, false, { key: "on" }],
    [{ type: "array", items: { enum: ["a", "b"] }, maxItems: 1 }, ["a", "b"], { key: "maxItems", n: 1 }],
    [{ type: "array", items: { enum: ["a"] }, default: ["a"], minItems: 1 }, [], { key: "choose" }],
    [{ type: "integer" }, "9007199254740993", { key: "tooLarge", n: "9007199254740991" }],
    [{ type: "number" }, "-9007199254740993", { key: "tooLarge", n: "9007199254740991" }],
    [{ type: "integer" }, 2 ** 60, { key: "tooLarge", n: "9007199254740991" }],
  ])("%o with %o", (property, value, expected) => expect(fault(property, value)).toEqual(expected));

  it("are not reported for the largest integer that the browser represents exactly", () => {
    expect(fault({ type: "integer" }, "9007199254740991")).toBeNull();
  });

  it("are reported for missing values", () => {
    expect(fault({ type: "string" }, undefined, true)).toEqual({ key: "required" });
    expect(fault({ enum: ["a"] }, undefined, true)).toEqual({ key: "choose" });
    expect(fault({ type: "string" })).toBeNull();
    expect(fault({ type: "integer", default: 3 }, "")).toEqual({ key: "required" });
  });
});
