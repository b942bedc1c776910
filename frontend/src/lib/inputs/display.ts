import { initialValue, toField, type Field } from "./fields";
import { isSchema, resolve, type InputSchema, type Schema } from "./schema";

type Translate = (key: string, named?: Record<string, unknown>) => string;

const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

function asText(value: unknown): string {
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}

/** Returns a value as people know it: the titles of choices, yes or no, and "empty". Secrets stay hidden. */
export function displayValue(field: Field, value: unknown, t: Translate): string {
  if (field.kind === "secret") return t("inputs.secretGiven");
  if (field.kind === "switch") return value === true ? t("inputs.on") : t("inputs.off");
  const titled = (one: unknown) => field.choices.find(choice => same(choice.value, one))?.title ?? asText(one);
  if (Array.isArray(value)) return value.length ? value.map(titled).join(", ") : t("inputs.nothing");
  return value === "" || value === undefined || value === null ? t("inputs.nothing") : titled(value);
}

const MAX_DEPTH = 8;

/** Returns true if a declaration says more than a condition on the value. */
function isComplete({ title, type, oneOf, enum: values }: InputSchema): boolean {
  return (title ?? type ?? oneOf ?? values) !== undefined;
}

/** Returns the schemas inside a schema that can declare more inputs. */
function partsOf({ allOf = [], then, else: otherwise, dependentSchemas = {} }: InputSchema): Schema[] {
  return [...allOf, then, otherwise, ...Object.values(dependentSchemas)].filter(part => part !== undefined);
}

/** Returns the declaration of an input, wherever the schema has it; null if it is not declared. */
function findProperty(given: Schema, name: string, root: InputSchema, depth = 0): InputSchema | null {
  const schema = resolve(given, root);
  if (!isSchema(schema) || depth > MAX_DEPTH) return null;
  const own = resolve(schema.properties?.[name] ?? false, root);
  if (isSchema(own) && isComplete(own)) return own;
  for (const part of partsOf(schema)) {
    const found = findProperty(part, name, root, depth + 1);
    if (found) return found;
  }
  return isSchema(own) ? own : null;
}

/** Returns the title and the text of a value of a deployment; undeclared values keep their name. */
export function describeValue(
  inputs: unknown, name: string, value: unknown, t: Translate,
): { label: string; text: string } {
  const schema = isSchema(inputs) ? findProperty(inputs, name, inputs) : null;
  const field = schema && toField(name, schema, false, inputs as InputSchema);
  const text = field ? displayValue(field, value, t) : asText(value);
  const isRounded = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
  return { label: field?.label ?? name, text: isRounded ? t("inputs.rounded", { value: text }) : text };
}

/** Returns true if the value is the one that the form begins with. */
export function isInitial(field: Field, value: unknown): boolean {
  return same(value, initialValue(field));
}
