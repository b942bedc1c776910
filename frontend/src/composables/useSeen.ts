import { onScopeDispose, watch, type Ref } from "vue";

/** Calls back whenever the element comes close to the viewport. */
export function useSeen(element: Readonly<Ref<Element | null>>, margin: string, seen: () => void): void {
  const observer = new IntersectionObserver((entries) => {
    if (entries.some(entry => entry.isIntersecting)) seen();
  }, { rootMargin: margin });

  watch(element, (current, before) => {
    if (before) observer.unobserve(before);
    if (current) observer.observe(current);
  }, { immediate: true, flush: "post" });
  onScopeDispose(() => observer.disconnect());
}
