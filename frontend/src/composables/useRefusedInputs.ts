import { ref, type Ref } from "vue";
import type { Fault } from "@/api/errors";
import type { Field } from "@/lib/inputs/fields";

/** The part of the body that an error is about: `["body", "env", name, …]` or `["body", "confirm"]`. */
function placeOf({ loc = [] }: Fault): string {
  const [, part, name] = loc;
  return part === "env" && name !== undefined ? `env:${String(name)}` : String(part ?? "");
}

/** The server's message starts with the field's name, which is redundant next to the field. */
function withoutLabel(sentence: string, label: string): string {
  const rest = sentence.startsWith(`${label}: `) ? sentence.slice(label.length + 2) : sentence;
  return rest.charAt(0).toUpperCase() + rest.slice(1);
}

/** Errors from the server: by field, and those that belong to no single field (`general`). */
export function useRefusedInputs(fields: Readonly<Ref<Field[]>>) {
  const errors = ref<Record<string, string>>({});
  const general = ref<string | null>(null);

  /** Shows the errors; returns false if there are none. */
  function show(faults: readonly Fault[]): boolean {
    const labels = new Map(fields.value.map(({ name, label }) => [`env:${name}`, label]));
    labels.set("confirm", "");
    const placed = faults.filter(fault => labels.has(placeOf(fault)));
    errors.value = Object.fromEntries(placed.map(fault => [
      placeOf(fault).replace(/^env:/, ""), withoutLabel(String(fault.msg), labels.get(placeOf(fault)) ?? ""),
    ]));
    general.value = faults.filter(fault => !placed.includes(fault)).map(({ msg }) => String(msg)).join(" ") || null;
    return faults.length > 0;
  }

  /** Clears the errors of one field, or all of them. */
  function clear(name?: string): void {
    const others = Object.entries(errors.value).filter(([other]) => name !== undefined && other !== name);
    errors.value = Object.fromEntries(others);
    general.value = null;
  }

  return { errors, general, show, clear };
}
