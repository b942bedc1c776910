/** The parts of JSON Schema (2020-12) that describe the inputs of a service. */
export interface InputSchema {
  type?: string | string[];
  title?: string;
  description?: string;
  default?: unknown;
  examples?: unknown[];
  format?: string;
  writeOnly?: boolean;
  enum?: unknown[];
  const?: unknown;
  oneOf?: Schema[];
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  multipleOf?: number;
  items?: Schema;
  minItems?: number;
  maxItems?: number;
  properties?: Record<string, Schema>;
  required?: string[];
  allOf?: Schema[];
  if?: Schema;
  then?: Schema;
  else?: Schema;
  dependentRequired?: Record<string, string[]>;
  dependentSchemas?: Record<string, Schema>;
  $ref?: string;
  $defs?: Record<string, Schema>;
  [keyword: string]: unknown;
}

export type Schema = boolean | InputSchema;

export function isSchema(value: unknown): value is InputSchema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function point(root: InputSchema, pointer: string): unknown {
  const steps = pointer.replace(/^#\/?/, "").split("/").filter(Boolean)
    .map(step => decodeURIComponent(step).replaceAll("~1", "/").replaceAll("~0", "~"));
  return steps.reduce<unknown>((at, step) => isSchema(at) ? at[step] : undefined, root);
}

/** Resolves a reference into the same document; keywords next to the reference take precedence. */
export function resolve(schema: Schema, root: InputSchema): Schema {
  let found = schema;
  for (let depth = 0; depth < 20 && isSchema(found) && typeof found.$ref === "string"; depth += 1) {
    const { $ref, ...own } = found;
    const target = point(root, $ref);
    found = isSchema(target) ? { ...target, ...own } : own;
  }
  return found;
}
