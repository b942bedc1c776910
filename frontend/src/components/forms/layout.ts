import type { Field } from "@/lib/inputs/fields";

/** So few choices are seen at a glance: they stand side by side instead of in a list that opens. */
const FEW = 4;
/** A long list of checkboxes can be searched. */
export const MANY = 10;

export function hasRadios(field: Field): boolean {
  return field.kind === "choice" && field.choices.length > 0 && field.choices.length <= FEW;
}

/** Made of several controls: it has a legend instead of a label. */
export function isGroup(field: Field): boolean {
  return field.kind === "choices" || hasRadios(field);
}
