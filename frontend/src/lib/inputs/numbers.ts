import type { InputSchema } from "./schema";

export interface Limits {
  min: number | null;
  max: number | null;
  step: number;
}

export function limitsOf(schema: InputSchema, integer: boolean): Limits {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema;
  const size = multipleOf ?? 1;
  const above = integer && exclusiveMinimum !== undefined ? exclusiveMinimum + size : exclusiveMinimum;
  const below = integer && exclusiveMaximum !== undefined ? exclusiveMaximum - size : exclusiveMaximum;
  return { min: minimum ?? above ?? null, max: maximum ?? below ?? null, step: size };
}

/** Returns the next multiple of the step, up or down, within the limits; starts nearest to zero if empty. */
export function step(number: number | null, direction: 1 | -1, { min, max, step: size }: Limits): number {
  const at = (number ?? 0) / size;
  const near = Math.abs(at - Math.round(at)) < 1e-9 ? Math.round(at) : at;
  const next = direction === 1 ? Math.floor(near) + 1 : Math.ceil(near) - 1;
  const target = number === null ? 0 : Number((next * size).toPrecision(12));
  return Math.min(max ?? Infinity, Math.max(min ?? -Infinity, target));
}
