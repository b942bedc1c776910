import { createI18n } from "vue-i18n";
import type { DeploymentState, StepState } from "@/api/types";
import type { FinalState } from "@/lib/states";
import en from "./en.json";

type Catalog = typeof en;
/** The type check fails if a state has no text. */
interface StateTexts {
  state: Record<DeploymentState, string>;
  stepState: Record<StepState, string>;
  toast: Record<FinalState, string>;
}

declare module "vue-i18n" {
  // eslint-disable-next-line @typescript-eslint/no-empty-object-type -- the interface is how vue-i18n learns the keys
  export interface DefineLocaleMessage extends Catalog {}
}

export const i18n = createI18n<[Catalog], "en">({
  legacy: false,
  locale: "en",
  fallbackLocale: "en",
  messages: { en: en satisfies StateTexts },
});
