import { useBroadcastChannel } from "@vueuse/core";
import { watch } from "vue";
import { useSessionStore } from "@/stores/session";

/** An object, because each copy that arrives is a new one: a repeated message is noticed as well. */
interface SignedOut {
  type: "signed-out";
}

/** Signs out all tabs of this browser together. */
export function useSignOutElsewhere(): void {
  const session = useSessionStore();
  const { data, post } = useBroadcastChannel<SignedOut, SignedOut>({ name: "fastdeploy.session" });

  watch(data, (message) => {
    if (message?.type === "signed-out" && session.signedIn) session.forget("elsewhere");
  });
  watch(() => session.state, (state, before) => {
    if (state === "signed-out" && before === "signed-in") post({ type: "signed-out" });
  });
}
