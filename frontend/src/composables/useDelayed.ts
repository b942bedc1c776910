import { onScopeDispose, ref, type Ref } from "vue";

/** True once `milliseconds` have passed, so that short waits show no loading indicator. */
export function useDelayed(milliseconds: number): Readonly<Ref<boolean>> {
  const passed = ref(false);
  const timer = setTimeout(() => { passed.value = true; }, milliseconds);
  onScopeDispose(() => clearTimeout(timer));
  return passed;
}
