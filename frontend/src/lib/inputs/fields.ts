import { isSchema, resolve, type InputSchema, type Schema } from "./schema";

export type FieldKind = "text" | "multiline" | "number" | "switch" | "choice" | "choices" | "date" | "secret";

export interface Choice {
  value: unknown;
  title: string;
}

/** One input of a service, as shown in the form. */
export interface Field {
  name: string;
  kind: FieldKind;
  label: string;
  help: string;
  required: boolean;
  integer: boolean;
  choices: Choice[];
  example: string;
  schema: InputSchema;
}

/** The entered values by field; untouched fields are absent. */
export type Values = Readonly<Record<string, unknown>>;

/** Returns true if an instance is valid against a schema that is part of `root`. */
export type Matches = (schema: Schema, instance: Values, root: InputSchema) => boolean;

function asText(value: unknown): string {
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}

function choicesOf(schema: InputSchema, root: InputSchema): Choice[] {
  if (schema.enum) return schema.enum.map(value => ({ value, title: asText(value) }));
  return (schema.oneOf ?? []).flatMap((option) => {
    const one = resolve(option, root);
    return isSchema(one) && "const" in one ? [{ value: one.const, title: one.title ?? asText(one.const) }] : [];
  });
}

function typeOf(schema: InputSchema): string {
  const types = Array.isArray(schema.type) ? schema.type : [schema.type];
  return types.find(type => type !== "null") ?? "string";
}

function kindOf(schema: InputSchema, choices: Choice[]): FieldKind {
  const type = typeOf(schema);
  if (type === "array") return "choices";
  if (type === "boolean") return "switch";
  if (choices.length > 0 || schema.enum) return "choice";
  if (type === "number" || type === "integer") return "number";
  if (schema.writeOnly) return "secret";
  if (schema.format === "date") return "date";
  return schema.format === "multiline" ? "multiline" : "text";
}

/** Returns the label of a property without a title: "target_branch" → "Target branch". */
function labelOf(name: string): string {
  const words = name.replace(/([a-z\d])([A-Z])/g, "$1 $2").replace(/[_-]+/g, " ").trim();
  return words === words.toUpperCase() ? words : words.charAt(0).toUpperCase() + words.slice(1).toLowerCase();
}

export function toField(name: string, schema: InputSchema, required: boolean, root: InputSchema): Field {
  const items = resolve(schema.items ?? {}, root);
  const listed = typeOf(schema) === "array" && isSchema(items) ? items : schema;
  const choices = choicesOf(listed, root);
  return {
    name,
    kind: kindOf(schema, choices),
    label: schema.title ?? labelOf(name),
    help: schema.description ?? "",
    required,
    integer: typeOf(schema) === "integer",
    choices,
    example: schema.examples?.[0] === undefined ? "" : asText(schema.examples[0]),
    schema,
  };
}

interface Collected {
  order: string[];
  properties: Map<string, InputSchema>;
  forbidden: Set<string>;
  required: Set<string>;
}

/** Adds the properties of a schema; conditional ones go below the last field that the condition depends on. */
class Collector {
  readonly #found: Collected = { order: [], properties: new Map(), forbidden: new Set(), required: new Set() };

  constructor(readonly root: InputSchema, readonly instance: Values, readonly matches: Matches) {}

  collect(): Collected {
    this.#take(this.root, null);
    return this.#found;
  }

  #take(given: Schema | undefined, anchor: string | null): void {
    const schema = resolve(given ?? true, this.root);
    if (!isSchema(schema)) return;
    let place = anchor;
    for (const [name, property] of Object.entries(schema.properties ?? {})) {
      place = this.#property(name, property, place);
    }
    for (const name of schema.required ?? []) this.#found.required.add(name);
    for (const part of schema.allOf ?? []) this.#take(part, place);
    this.#conditions(schema, place);
  }

  #conditions(schema: InputSchema, place: string | null): void {
    if (schema.if !== undefined) {
      const holds = this.matches(schema.if, this.instance, this.root);
      this.#take(holds ? schema.then : schema.else, this.#lastOf(schema.if) ?? place);
    }
    for (const [name, names] of Object.entries(schema.dependentRequired ?? {})) {
      if (this.instance[name] !== undefined) for (const other of names) this.#found.required.add(other);
    }
    for (const [name, dependent] of Object.entries(schema.dependentSchemas ?? {})) {
      if (this.instance[name] !== undefined) this.#take(dependent, name);
    }
  }

  /** The last field in the form that a condition depends on. */
  #lastOf(condition: Schema): string | null {
    const asked = resolve(condition, this.root);
    const names = isSchema(asked) ? [...Object.keys(asked.properties ?? {}), ...asked.required ?? []] : [];
    return this.#found.order.filter(name => names.includes(name)).at(-1) ?? null;
  }

  #property(name: string, given: Schema, anchor: string | null): string | null {
    const property = resolve(given, this.root);
    if (property === false) this.#found.forbidden.add(name);
    const { order, properties } = this.#found;
    const known = properties.get(name);
    properties.set(name, { ...known, ...isSchema(property) ? property : {} });
    if (known) return anchor;
    order.splice(anchor === null ? order.length : order.indexOf(anchor) + 1, 0, name);
    return anchor === null ? null : name;
  }
}

/** Returns the fields to show for these values (as returned by `toJson`), in order. */
function fieldsFor(root: InputSchema, instance: Values, matches: Matches): Field[] {
  const { order, properties, forbidden, required } = new Collector(root, instance, matches).collect();
  return order.flatMap((name) => {
    const schema = properties.get(name);
    return schema && !forbidden.has(name) ? [toField(name, schema, required.has(name), root)] : [];
  });
}

/** Returns a field's initial value. */
export function initialValue(field: Field): unknown {
  const { default: preset, const: only } = field.schema;
  if (preset !== undefined) return preset;
  if (only !== undefined && field.kind !== "switch") return only;
  if (field.kind === "switch") return false;
  return field.kind === "choices" ? [] : field.kind === "choice" ? undefined : "";
}

/** Returns the entered value of a field, or its initial value. */
export function shownValue(field: Field, values: Values): unknown {
  return values[field.name] === undefined ? initialValue(field) : values[field.name];
}

/** Returns a field's value as it is sent; undefined if there is nothing to send. */
export function toJson(field: Field, values: Values): unknown {
  const value = shownValue(field, values);
  const preset = field.schema.default !== undefined;
  // Send a cleared value explicitly if a default would replace it.
  if (field.kind === "switch") return value === true || field.required || preset ? value : undefined;
  if (field.kind === "choices") return isFilled(value) || field.required || preset ? value : undefined;
  if (field.kind === "number") return toNumber(value);
  if (value !== "") return value;
  const isText = field.kind === "text" || field.kind === "multiline";
  return isText && preset && !field.required ? value : undefined;
}

function isFilled(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0;
}

/** Returns true for integers of which JavaScript cannot represent each one exactly. */
export function isTooLarge(value: unknown): boolean {
  return typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
}

function toNumber(value: unknown): unknown {
  if (typeof value !== "string") return value;
  const text = value.trim().replace(",", ".");
  if (text === "") return undefined;
  const number = Number(text);
  // JavaScript would silently change larger integers, so they stay text, which is not a valid number.
  return Number.isFinite(number) && !isTooLarge(number) ? number : value;
}

export function toEnv(fields: readonly Field[], values: Values): Record<string, unknown> {
  return Object.fromEntries(fields
    .map(field => [field.name, toJson(field, values)] as const)
    .filter(([, value]) => value !== undefined));
}

/** Maximum depth of conditions that depend on fields added by other conditions. */
const MOST_ROUNDS = 12;

/** Returns the fields to show for the values entered so far; evaluates conditions until nothing changes. */
export function activeFields(root: InputSchema, values: Values, matches: Matches): Field[] {
  let fields = fieldsFor(root, {}, matches);
  for (let round = 0; round < MOST_ROUNDS; round += 1) {
    const next = fieldsFor(root, toEnv(fields, values), matches);
    const same = next.length === fields.length && next.every((field, index) =>
      field.name === fields[index]?.name && field.required === fields[index].required);
    fields = next;
    if (same && round > 0) break;
  }
  return fields;
}

/** Returns true if a field's value differs from its default. */
export function isChanged(field: Field, values: Values): boolean {
  return JSON.stringify(toJson(field, values)) !== JSON.stringify(toJson(field, {}));
}
