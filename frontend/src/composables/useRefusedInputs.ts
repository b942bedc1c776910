import { ref, type Ref } from "vue";
import type { Fault } from "@/api/errors";
import type { Field } from "@/lib/inputs/fields";

/** Which part of the body a fault is about: `["body", "env", name, …]` or `["body", "confirm"]`. */
function placeOf({ loc = [] }: Fault): string {
  const [, part, name] = loc;
  return part === "env" && name !== undefined ? `env:${String(name)}` : String(part ?? "");
}

/** The server names the field in its sentence; beside the field that is said already. */
function withoutLabel(sentence: string, label: string): string {
  const rest = sentence.startsWith(`${label}: `) ? sentence.slice(label.length + 2) : sentence;
  return rest.charAt(0).toUpperCase() + rest.slice(1);
}

/** What the server found wrong: by field, and what is about no field (`together`). */
export function useRefusedInputs(fields: Readonly<Ref<Field[]>>) {
  const errors = ref<Record<string, string>>({});
  const together = ref<string | null>(null);

  /** Shows the faults; false when there are none to show. */
  function take(faults: readonly Fault[]): boolean {
    const labels = new Map(fields.value.map(({ name, label }) => [`env:${name}`, label]));
    labels.set("confirm", "");
    const placed = faults.filter(fault => labels.has(placeOf(fault)));
    errors.value = Object.fromEntries(placed.map(fault => [
      placeOf(fault).replace(/^env:/, ""), withoutLabel(String(fault.msg), labels.get(placeOf(fault)) ?? ""),
    ]));
    together.value = faults.filter(fault => !placed.includes(fault)).map(({ msg }) => String(msg)).join(" ") || null;
    return faults.length > 0;
  }

  /** Forgets what was wrong with one field, or all of it. */
  function forget(name?: string): void {
    const others = Object.entries(errors.value).filter(([other]) => name !== undefined && other !== name);
    errors.value = Object.fromEntries(others);
    together.value = null;
  }

  return { errors, together, take, forget };
}
