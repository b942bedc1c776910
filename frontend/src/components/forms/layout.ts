import type { Field } from "@/lib/inputs/fields";

/** Up to this many choices are shown side by side instead of in a dropdown. */
const FEW = 4;
/** Longer lists of checkboxes get a search field. */
export const MANY = 10;

export function hasRadios(field: Field): boolean {
  return field.kind === "choice" && field.choices.length > 0 && field.choices.length <= FEW;
}

/** Made of several controls, so it has a legend instead of a label. */
export function isGroup(field: Field): boolean {
  return field.kind === "choices" || hasRadios(field);
}
