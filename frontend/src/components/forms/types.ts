import type { Field } from "@/lib/inputs/fields";

/** What every control of a form is given by the frame around it. */
export interface ControlProps {
  field: Field;
  id: string;
  describedBy?: string;
  invalid: boolean;
}
