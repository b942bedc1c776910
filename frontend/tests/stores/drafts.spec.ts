import { beforeEach, describe, expect, it } from "vitest";
import { nextTick } from "vue";
import { useDraftsStore } from "@/stores/drafts";
import { useSessionStore } from "@/stores/session";
import { freshStores, signIn } from "../support/app";
import { FakeServer } from "../support/network";

let server: FakeServer;

beforeEach(async () => {
  freshStores();
  server = new FakeServer();
  await signIn(server);
});

describe("drafts of deployments", () => {
  it("are kept per service and removed once sent", () => {
    const drafts = useDraftsStore();
    drafts.open(1);
    drafts.change(1, { values: { version: "v1" } });
    drafts.open(1);
    expect(drafts.of(1).values).toEqual({ version: "v1" });
    expect(drafts.of(2).values).toEqual({});
    drafts.drop(1);
    expect(drafts.of(1).values).toEqual({});
  });

  it("are cleared, including secrets, at the end of the session", async () => {
    const drafts = useDraftsStore();
    drafts.change(1, { values: { password: "hunter2" } });
    server.json("DELETE /session", {}, 204);
    await useSessionStore().signOut();
    await nextTick();
    expect(JSON.stringify(drafts.$state)).not.toContain("hunter2");
  });
});
