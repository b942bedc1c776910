import { call } from "@/api/errors";
import { useSessionStore } from "@/stores/session";

/** Fetches the file and hands it to the browser, because a plain link can't carry the access token. */
export function useDownload() {
  const session = useSessionStore();

  async function downloadLog(deploymentId: number, name: string): Promise<void> {
    const text = await call(session.api.GET("/deployments/{deployment_id}/output.txt", {
      params: { path: { deployment_id: deploymentId } }, parseAs: "blob",
    }));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(text as unknown as Blob);
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  return { downloadLog };
}
