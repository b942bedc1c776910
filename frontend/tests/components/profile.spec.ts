import { flushPromises } from "@vue/test-utils";
import { beforeEach, describe, expect, it } from "vitest";
import type { BrowserSession } from "@/api/types";
import ProfileView from "@/views/ProfileView.vue";
import { freshStores, mountInApp, signIn } from "../support/app";
import { FakeServer } from "../support/network";

let server: FakeServer;

const aSession = (fields: Partial<BrowserSession> = {}): BrowserSession => ({
  id: "s1", created: "2026-01-01T10:00:00Z", expires: "2026-02-01T10:00:00Z", last_used: "2026-01-01T10:00:00Z",
  user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", current: false, ...fields,
});

beforeEach(async () => {
  freshStores();
  document.body.replaceChildren();
  server = new FakeServer();
  await signIn(server);
});

async function open(sessions: BrowserSession[]) {
  server.json("GET /sessions/", sessions);
  return (await mountInApp(ProfileView)).wrapper;
}

const rows = (page: Awaited<ReturnType<typeof open>>) => page.findAll("[data-session]");

describe("the browser sessions of the profile", () => {
  it("start with the current session, which is marked and cannot be ended by accident", async () => {
    const page = await open([aSession({ last_used: "2026-01-03T10:00:00Z" }), aSession({ id: "s2", current: true })]);
    expect(rows(page).map(row => row.attributes("data-session"))).toEqual(["current", "other"]);
    expect(rows(page)[0]?.text()).toContain("This browser");
    expect(rows(page)[0]?.find("button").exists()).toBe(false);
    expect(rows(page)[1]?.text()).toContain("Firefox on Linux");
  });

  it("are ended one by one", async () => {
    const page = await open([aSession({ id: "s2", current: true }), aSession()]);
    server.json("DELETE /sessions/s1", null, 204);
    await page.get("[data-session=other] button").trigger("click");
    await flushPromises();
    expect(server.called("DELETE /sessions/s1")).toHaveLength(1);
    expect(rows(page)).toHaveLength(1);
  });

  it("are all ended except the current one, after confirmation", async () => {
    const page = await open([aSession({ id: "s2", current: true }), aSession(), aSession({ id: "s3" })]);
    server.json("DELETE /sessions/", null, 204);
    const all = page.findAll("button").find(button => button.text() === "End all other sessions");
    await all?.trigger("click");
    await flushPromises();
    expect(server.called("DELETE /sessions/")).toHaveLength(0);
    server.json("GET /sessions/", [aSession({ id: "s2", current: true })]);
    const buttons = [...document.querySelectorAll<HTMLElement>("[role=alertdialog] button")];
    buttons.find(button => button.textContent.trim() === "End all other sessions")?.click();
    await flushPromises();
    expect(server.called("DELETE /sessions/")).toHaveLength(1);
    expect(rows(page)).toHaveLength(1);
  });

  it("show an error with a retry button if they cannot be loaded", async () => {
    server.json("GET /sessions/", {}, 503);
    const { wrapper } = await mountInApp(ProfileView);
    expect(wrapper.get("[role=alert]").text()).toContain("The database is temporarily unavailable");
    server.json("GET /sessions/", [aSession({ current: true })]);
    await wrapper.get("[role=alert] button").trigger("click");
    await flushPromises();
    expect(rows(wrapper)).toHaveLength(1);
  });
});

describe("changing one's own password", () => {
  it.each([429, 503])("shows how long to wait after a %d", async (status) => {
    const sentence = "Too many wrong passwords. Try again in 5 minutes.";
    const page = await open([]);
    server.json("POST /users/me/password", { detail: sentence }, status);
    for (const field of page.findAll("input[type=password]")) await field.setValue("a password");
    await page.get("form").trigger("submit");
    await flushPromises();
    expect(page.get("form [role=alert]").text()).toBe(sentence);
  });
});
