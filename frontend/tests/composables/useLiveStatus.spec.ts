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

describe("the sign of the connection", () => {
  it("says nothing until something is known", async () => {
    const status = await open();
    expect(status.value).toBeNull();
    FakeSocket.last.welcome();
    await nextTick();
    expect(status.value).toBe("live");
  });

  it("is calm: what is back within two seconds was never away", async () => {
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

  it("tells of trouble that lasts, and at once when it is over", async () => {
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
