import { flushPromises } from "@vue/test-utils";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { defineComponent, h } from "vue";
import { useOutcomes } from "@/composables/useOutcomes";
import { useDeploymentsStore } from "@/stores/deployments";
import { useNoticesStore } from "@/stores/notices";
import { useNotificationsStore } from "@/stores/notifications";
import { usePushStore } from "@/stores/push";
import { useWatchedStore } from "@/stores/watched";
import { freshStores, mountInApp, signIn } from "../support/app";
import { aDeployment } from "../support/data";
import { FakeServer, FakeSocket } from "../support/network";

class FakeNotification {
  static permission: NotificationPermission = "default";
  static asked = 0;
  static shown: FakeNotification[] = [];
  onclick: (() => void) | null = null;
  closed = false;

  static requestPermission(): Promise<NotificationPermission> {
    FakeNotification.asked += 1;
    FakeNotification.permission = "granted";
    return Promise.resolve("granted");
  }

  constructor(readonly title: string, readonly options: NotificationOptions) {
    FakeNotification.shown.push(this);
  }

  close(): void { this.closed = true; }
}

beforeEach(async () => {
  Object.assign(FakeNotification, { permission: "default", asked: 0, shown: [] });
  vi.stubGlobal("Notification", FakeNotification);
  vi.stubGlobal("isSecureContext", true);
  localStorage.clear();
  freshStores();
  FakeSocket.install();
  await signIn(new FakeServer());
  usePushStore().start();
  FakeSocket.last.welcome();
  return () => usePushStore().stop();
});

async function open(at = "/") {
  const Page = defineComponent({ setup: () => { useOutcomes(); return () => h("div"); } });
  useDeploymentsStore();
  return mountInApp(Page, { at });
}

const say = (fields: Parameters<typeof aDeployment>[0]) =>
  FakeSocket.last.say({ type: "deployment", deployment_id: fields?.id ?? 5, ...aDeployment(fields) });
const end = (fields: Parameters<typeof aDeployment>[0] = {}) => {
  say({ ...fields, state: "running", seq: 1 });
  say({ state: "success", ...fields, seq: 2 });
};
const toasts = () => useNoticesStore().toasts.map(({ text, kind }) => `${kind}: ${text}`);

describe("outcomes on other pages", () => {
  it("are shown once, with a link, for deployments the user started", async () => {
    await open();
    end();
    say({ state: "success", seq: 3 });
    expect(toasts()).toEqual(["success: shop #5 succeeded."]);
    expect(useNoticesStore().toasts[0]?.link?.to).toEqual({ name: "deployment", params: { id: 5 } });
  });

  it("are not shown to a user who is viewing the deployment", async () => {
    await open("/deployment/5");
    end();
    end({ id: 6, state: "failure" });
    expect(toasts()).toEqual(["failure: shop #6 failed."]);
  });

  it("are not shown for deployments of other users or programs, unless watched", async () => {
    await open();
    end({ id: 6, user: "sam" });
    end({ id: 7, origin: "GitHub" });
    useWatchedStore().set(8, true);
    end({ id: 8, user: "sam" });
    useWatchedStore().set(9, false);
    end({ id: 9 });
    expect(toasts()).toEqual(["success: shop #8 succeeded."]);
  });

  it("are not shown for deployments that had already ended", async () => {
    await open();
    say({ state: "failure", seq: 4 });
    expect(toasts()).toEqual([]);
  });

  it("are limited to three", async () => {
    await open();
    for (const id of [11, 12, 13, 14]) end({ id, state: "failure" });
    expect(toasts()).toHaveLength(3);
    expect(toasts()[0]).toContain("#12");
  });
});

describe("the browser's notifications", () => {
  const hide = () => vi.spyOn(document, "visibilityState", "get").mockReturnValue("hidden");

  it("are requested only by a click, and shown while the page is hidden", async () => {
    const { router } = await open();
    vi.spyOn(window, "focus").mockReturnValue();
    hide();
    end();
    expect([FakeNotification.asked, FakeNotification.shown.length]).toEqual([0, 0]);
    await useNotificationsStore().turnOn();
    end({ id: 6, state: "failure", reason: "The step “Install” failed" });
    const [shown] = FakeNotification.shown;
    expect(shown?.title).toBe("shop #6 failed.");
    expect(shown?.options).toMatchObject({ body: "The step “Install” failed", tag: "fastdeploy-6" });
    shown?.onclick?.();
    await flushPromises();
    expect(router.currentRoute.value.path).toBe("/deployment/6");
  });

  it("are not shown while the page is visible or when turned off", async () => {
    await open();
    await useNotificationsStore().turnOn();
    end();
    hide();
    useNotificationsStore().turnOff();
    end({ id: 6 });
    expect(FakeNotification.shown).toHaveLength(0);
  });

  it("detect that the browser blocks them", () => {
    FakeNotification.permission = "denied";
    freshStores();
    expect(useNotificationsStore().state).toBe("blocked");
  });
});
