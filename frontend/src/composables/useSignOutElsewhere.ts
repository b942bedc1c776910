import { onScopeDispose, watch } from "vue";
import { useSessionStore } from "@/stores/session";

const SIGNED_OUT = "signed-out";

/** Signs out all tabs of this browser together. */
export function useSignOutElsewhere(): void {
  const session = useSessionStore();
  const channel = new BroadcastChannel("fastdeploy.session");
  channel.onmessage = (event) => {
    if (event.data === SIGNED_OUT && session.signedIn) session.forget();
  };
  watch(() => session.state, (state, before) => {
    if (state === "signed-out" && before === "signed-in") channel.postMessage(SIGNED_OUT);
  });
  onScopeDispose(() => channel.close());
}
