import { Validator, type OutputUnit, type Schema as Checked } from "@cfworker/json-schema";
import { isTooLarge, toJson, type Field, type Matches, type Values } from "./fields";
import type { InputSchema, Schema } from "./schema";

const DRAFT = "2020-12";

/** An error of one value: a key of the catalog below `inputs.fault`, with its parameters. */
export interface Fault {
  key: FaultKey;
  n?: number | string;
}

export type FaultKey = "required" | "choose" | "number" | "integer" | "minimum" | "maximum" | "above" | "below"
  | "on" | "tooLarge" | "multipleOf" | "minLength" | "maxLength" | "pattern" | "example" | "date" | "minItems" | "maxItems" | "other";

/** The validator mutates its schemas, so it gets a copy that includes `$defs`. */
function check(schema: Schema, instance: unknown, root: InputSchema): OutputUnit[] {
  const whole = typeof schema === "boolean" ? schema : { ...schema, $defs: { ...root.$defs, ...schema.$defs } };
  const validator = new Validator(JSON.parse(JSON.stringify(whole)) as Checked, DRAFT, false);
  const { valid, errors } = validator.validate(instance);
  return valid ? [] : errors;
}

export const matches: Matches = (schema, instance, root) => check(schema, instance, root).length === 0;

type Known = [key: FaultKey, limit?: keyof InputSchema];

const KNOWN: Record<string, Known> = {
  minimum: ["minimum", "minimum"],
  maximum: ["maximum", "maximum"],
  exclusiveMinimum: ["above", "exclusiveMinimum"],
  exclusiveMaximum: ["below", "exclusiveMaximum"],
  multipleOf: ["multipleOf", "multipleOf"],
  minLength: ["minLength", "minLength"],
  maxLength: ["maxLength", "maxLength"],
  minItems: ["minItems", "minItems"],
  maxItems: ["maxItems", "maxItems"],
  pattern: ["pattern"],
  enum: ["choose"],
  const: ["choose"],
  oneOf: ["choose"],
};

function nothing(field: Field): Fault {
  if (field.kind === "switch") return { key: "on" };
  const chosen = field.kind === "choice" || field.kind === "choices";
  return { key: chosen ? "choose" : "required" };
}

function explain(field: Field, error: OutputUnit | undefined): Fault {
  const keyword = error?.keyword ?? "";
  if (keyword === "type" && field.kind === "number") return { key: field.integer ? "integer" : "number" };
  if (field.kind === "switch") return nothing(field);
  if (keyword === "format") return { key: field.kind === "date" ? "date" : "pattern" };
  const known = KNOWN[keyword];
  if (!known) return { key: "other" };
  const [key, limit] = known;
  if (key === "pattern" && field.example) return { key: "example", n: field.example };
  return limit === undefined ? { key } : { key, n: Number(field.schema[limit]) };
}

function faultOf(field: Field, values: Values, root: InputSchema): Fault | null {
  const value = toJson(field, values);
  if (value === undefined) {
    const missing = field.required || (field.kind === "number" && field.schema.default !== undefined);
    return missing ? nothing(field) : null;
  }
  if (field.kind === "number" && isTooLarge(Number(typeof value === "string" ? value.trim() : value))) return { key: "tooLarge", n: String(Number.MAX_SAFE_INTEGER) };
  if (Array.isArray(value) && value.length === 0 && field.schema.minItems) return nothing(field);
  const errors = check(field.schema, value, root);
  return errors.length === 0 ? null : explain(field, errors.find(error => error.keyword in KNOWN) ?? errors[0]);
}

/** Returns the errors of the entered values, by field. */
export function findFaults(fields: readonly Field[], values: Values, root: InputSchema): Record<string, Fault> {
  return Object.fromEntries(fields.flatMap((field) => {
    const fault = faultOf(field, values, root);
    return fault === null ? [] : [[field.name, fault]];
  }));
}
