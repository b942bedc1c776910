import type { Field } from "@/lib/inputs/fields";

/** Props that `FormField` passes to every control. */
export interface ControlProps {
  field: Field;
  id: string;
  describedBy?: string;
  invalid: boolean;
}
