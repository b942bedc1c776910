import { nextTick } from "vue";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { useLiveStatus } from "@/composables/useLiveStatus";
import { usePushStore } from "@/stores/push";
import { freshStores, runInApp, signIn } from "../support/app";
import { FakeServer, FakeSocket } from "../support/network";

beforeEach(async () => {
  freshStores();
  FakeSocket.install();
  await signIn(new FakeServer());
  usePushStore().start();
  return () => {
    usePushStore().stop();
    vi.useRealTimers();
  };
});

async function open() {
  const { result } = await runInApp(useLiveStatus);
  vi.useFakeTimers();
  return result;
}

describe("the connection indicator", () => {
  it("shows nothing until the status is known", async () => {
    const status = await open();
    expect(status.value).toBeNull();
    FakeSocket.last.welcome();
    await nextTick();
    expect(status.value).toBe("live");
  });

  it("ignores interruptions shorter than two seconds", async () => {
    const status = await open();
    FakeSocket.last.welcome();
    await nextTick();
    FakeSocket.last.breakOff();
    await vi.advanceTimersByTimeAsync(1000);
    expect(status.value).toBe("live");
    FakeSocket.last.welcome();
    await vi.advanceTimersByTimeAsync(5000);
    expect(status.value).toBe("live");
  });

  it("shows lasting problems, and immediately when they are over", async () => {
    const status = await open();
    FakeSocket.last.welcome();
    await nextTick();
    FakeSocket.last.breakOff();
    await vi.advanceTimersByTimeAsync(2100);
    expect(status.value).toBe("polling");
    FakeSocket.last.welcome();
    await nextTick();
    expect(status.value).toBe("live");
  });
});
