import { flushPromises, type VueWrapper } from "@vue/test-utils";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { DeploymentDetail } from "@/api/types";
import { usePushStore } from "@/stores/push";
import DeploymentView from "@/views/DeploymentView.vue";
import { freshStores, mountInApp, signIn } from "../support/app";
import { aDetail } from "../support/data";
import { FakeServer, FakeSocket } from "../support/network";

const AT = "2026-01-01T10:00:00Z";
const frame = () => new Promise(resolve => requestAnimationFrame(resolve));

let server: FakeServer;
let stored: string[];

beforeEach(async () => {
  // jsdom has no layout, so the log is given a height of 600 pixels.
  vi.spyOn(Element.prototype, "clientHeight", "get").mockReturnValue(600);
  vi.spyOn(Element.prototype, "clientWidth", "get").mockReturnValue(800);
  freshStores();
  FakeSocket.install();
  document.body.replaceChildren();
  stored = [];
  server = new FakeServer().on("GET /deployments/5/output", () => ({
    json: {
      lines: stored.map((text, index) => ({ n: index + 1, at: AT, text, step_id: null })), total: 0, next_after: null,
    },
  }));
  await signIn(server);
  usePushStore().start();
  FakeSocket.last.welcome();
  return () => usePushStore().stop();
});

async function open(fields: Partial<DeploymentDetail> = {}, at = "/deployment/5"): Promise<VueWrapper> {
  server.json("GET /deployments/5", aDetail({ lines: stored.length, ...fields }));
  const { wrapper } = await mountInApp(DeploymentView, { at });
  await settle();
  return wrapper;
}

async function settle(): Promise<void> {
  await flushPromises();
  await frame();
  await flushPromises();
}

async function say(...messages: object[]): Promise<void> {
  for (const message of messages) FakeSocket.last.say(message);
  await settle();
}

const output = (seq: number, n: number, text: string) =>
  ({ type: "output", deployment_id: 5, seq, lines: [[n, AT, text, null]] });

const lines = (page: VueWrapper) => page.findAll(".log .log-line .text").map(line => line.text());

describe("the log", () => {
  const openLine = (n: number, text: string) => ({ type: "open_line", deployment_id: 5, n, at: AT, text });

  it("shows a line before it ends, while it is the next one", async () => {
    const page = await open({ seq: 1 });
    await say(output(2, 1, "first"), openLine(2, "\r10 %\r20 %"));
    expect(page.get(".log-open .text").text()).toBe("20 %");
    await say(openLine(2, "\r30 %"));
    expect(page.get(".log-open .text").text()).toBe("30 %");
    await say(output(3, 2, "100 %"), openLine(2, "late"));
    expect(page.find(".log-open").exists()).toBe(false);
    expect(lines(page)).toEqual(["first", "100 %"]);
  });

  it("continues colors on the next line", async () => {
    const page = await open({ seq: 1 });
    await say(output(2, 1, "\u001b[31mred"), output(3, 2, "still red"));
    expect(page.findAll(".log-line .text .ansi-fg-1").map(part => part.text())).toEqual(["red", "still red"]);
  });

  it("links addresses without access to this page", async () => {
    const page = await open({ seq: 1 });
    await say(output(2, 1, "see https://example.org/a."));
    const link = page.get(".log-line .text a");
    expect(link.attributes()).toMatchObject({ href: "https://example.org/a", target: "_blank", rel: "noopener noreferrer" });
    expect(link.text()).toBe("https://example.org/a");
  });

  it("of two million lines fits into the browser's limits, and each line can be reached", async () => {
    const page = await open({ state: "success", finished: AT, lines: 2_000_000 });
    const height = () => Number.parseFloat(page.get<HTMLElement>(".log > div").element.style.height);
    expect(height()).toBeLessThan(16_000_000);
    const numbers = () => page.findAll(".log-line .number").map(number => Number(number.text()));
    expect(numbers()).toContain(1);
    await page.get(".log").trigger("keydown", { key: "End" });
    await settle();
    await page.get(".log").trigger("scroll");
    await settle();
    expect(Math.max(...numbers())).toBeGreaterThan(1_940_000);
    await page.get(".log").trigger("keydown", { key: "Home" });
    await settle();
    expect(height()).toBeLessThan(16_000_000);
    expect(numbers()).toContain(1);
  });

  it("copies all lines after Ctrl-A", async () => {
    const page = await open({ seq: 1 });
    await say(output(2, 1, "\u001b[31mone"), output(3, 2, "two"));
    await page.get(".log").trigger("keydown", { key: "a", ctrlKey: true });
    await settle();
    const event = new Event("copy", { cancelable: true });
    let copied = "";
    Object.assign(event, { clipboardData: { setData: (_type: string, text: string) => { copied = text; } } });
    document.dispatchEvent(event);
    expect(copied).toBe("one\ntwo\n");
  });

  it("moves Ctrl-F to its own search", async () => {
    const page = await open({ seq: 1 });
    await page.get(".log").trigger("keydown", { key: "f", ctrlKey: true });
    expect(document.activeElement).toBe(page.get("input[type=search]").element);
  });

  it("renders only visible lines of a log of any length", async () => {
    stored = Array.from({ length: 1000 }, (_, index) => `line ${index + 1}`);
    const page = await open({ state: "success", finished: AT });
    expect(page.text()).toContain("1,000 lines");
    expect(lines(page).length).toBeLessThan(120);
    expect(lines(page)[0]).toBe("line 1");
  });

  it("shows markup as text, and colors as classes", async () => {
    stored = ["\u001b[31m<img src=x onerror=alert(1)>\u001b[0m"];
    const page = await open({ state: "success", finished: AT });
    expect(page.find(".log img").exists()).toBe(false);
    expect(page.get(".log .ansi-fg-1").text()).toBe("<img src=x onerror=alert(1)>");
  });

  it("marks the line that a link points to", async () => {
    stored = ["one", "two", "three"];
    const page = await open({ state: "success", finished: AT }, "/deployment/5#L2");
    expect(page.get(".log-line-now .number").text()).toBe("2");
  });

  it("counts and marks search matches", async () => {
    stored = ["all is well", "an Error", "well", "error again"];
    const page = await open({ state: "success", finished: AT });
    await page.get("input[type=search]").setValue("error");
    await vi.waitFor(() => expect(page.get("[role=toolbar]").text()).toContain("1 of 2"));
    expect(page.findAll(".log-mark").map(mark => mark.text())).toEqual(["Error", "error"]);
    await page.get("input[type=search]").trigger("keydown", { key: "Enter" });
    await vi.waitFor(() => expect(page.get(".log-line-now .number").text()).toBe("4"));
  });

  it("shows that there is no output", async () => {
    expect((await open({ state: "success", finished: AT })).text()).toContain("No output");
  });
});
