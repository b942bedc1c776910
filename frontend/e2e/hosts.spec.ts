import { expect, test, type Page } from "@playwright/test";

const HOSTS = 500, STEPS = 40, ID = 987_654_321;
const AT = "2026-01-01T10:00:00Z";
const bad = (host: number) => host % 50 === 7;
/** The order in which the server lists hosts. */
const failedFirst = (hosts: number[]) => [...hosts.filter(bad), ...hosts.filter(host => !bad(host))];
const name = (host: number) => `web${String(host).padStart(3, "0")}`;

/** Each failed host has a message of its own, so these results cannot be folded. */
function result(stepId: number, host: number) {
  const failed = stepId === STEPS && bad(host);
  return {
    step_id: stepId, host: name(host), outcome: failed ? "failed" : "changed", duration: 0.1, diff: null, has_more: true,
    message: failed || stepId % 2 ? `The agent on ${name(host)} answered after ${host} ms` : "", lines: [],
  };
}

function step(id: number) {
  const failed = Array.from({ length: HOSTS }, (_, host) => host).filter(host => id === STEPS && bad(host)).length;
  return {
    id, deployment_id: ID, name: `Step ${id}`, description: "", state: failed ? "failure" : "success", started: AT, finished: AT,
    message: "", position: id, run_order: id, first_line: null, last_line: null, detail: {}, hosts: [], expected_seconds: null,
    host_counts: { changed: HOSTS - failed, ...(failed ? { failed } : {}) },
  };
}

/** The server's answers about a deployment of 40 steps on 500 hosts, which would take minutes to run. */
async function serve(page: Page): Promise<void> {
  const hosts = Array.from({ length: HOSTS }, (_, host) => host);
  const address = new RegExp(`/deployments/${ID}(/[a-z]+)?(\\?.*)?$`);
  await page.route(address, async (route) => {
    const { pathname, searchParams } = new URL(route.request().url());
    if (pathname.startsWith("/ui/")) return route.fallback();
    const stepId = Number(searchParams.get("step_id") ?? STEPS);
    const q = searchParams.get("q") ?? "";
    const answers: Record<string, unknown> = {
      "": {
        id: ID, service_id: 1, service: "fleet", origin: "frontend", user: "admin", state: "failure", created: AT, started: AT,
        finished: AT, context: { env: {} }, reason: "10 of 500 hosts failed", exit_code: 2, retry_of: null, cancel_requested: null,
        expected_seconds: null, secret_inputs: [], seq: 9, lines: 0, environment: "", held: null, details: "", waiting: null,
        steps: Array.from({ length: STEPS }, (_, index) => step(index + 1)),
        hosts: { total: HOSTS, ok: 0, changed: 490, failed: 10, unreachable: 0 },
      },
      "/hosts": {
        results: hosts.filter(host => !searchParams.has("outcome") || bad(host)).map(host => result(stepId, host)),
        next_after: null,
      },
      "/recap": {
        hosts: failedFirst(hosts).filter(host => name(host).includes(q)).map(host => ({
          host: name(host), ok: STEPS, changed: STEPS, failed: Number(bad(host)),
          unreachable: 0, skipped: 0, rescued: 0, ignored: 0,
        })),
        next_after: null,
      },
      "/output": { lines: [], total: 0, next_after: null },
      "/events": { events: [], last_seq: 9, more: false },
      "/changes": { since: null, env: [], config: [], files: [], unknown: [] },
    };
    return route.fulfill({ json: answers[pathname.slice(`/deployments/${ID}`.length)] });
  });
}

const nodes = (page: Page) => page.evaluate(() => document.querySelectorAll("*").length);

/** Scrolls an element, or the page, to its end, and returns the longest frame in milliseconds. */
function scroll(page: Page, selector: string | null): Promise<number> {
  return page.evaluate(async (wanted) => {
    const element = wanted ? document.querySelector(wanted) : document.scrollingElement;
    if (!element) throw new Error(`There is no ${wanted}.`);
    const frame = () => new Promise<number>(resolve => requestAnimationFrame(resolve));
    let longest = 0, before = await frame();
    for (let at = 0; at < 60; at += 1) {
      element.scrollBy(0, 150);
      const now = await frame();
      longest = Math.max(longest, now - before);
      before = now;
    }
    return longest;
  }, selector);
}

function report(type: string, value: number): void {
  test.info().annotations.push({ type, description: `${Math.round(value)} ms` });
}

test("a deployment of 40 steps on 500 hosts has few nodes", async ({ page }) => {
  await serve(page);
  await page.goto("/ui/deployments");
  const began = Date.now();
  await page.goto(`/ui/deployments/${ID}`);
  await expect(page.locator("[data-step]")).toHaveCount(STEPS);
  await expect(page.locator("[data-step='Step 40'] li").first()).toContainText("answered after");
  report("opened in", Date.now() - began);
  expect(await nodes(page)).toBeLessThan(3000);
  report("longest frame, page", await scroll(page, null));

  await page.locator("[data-step='Step 39'] > button").click();
  await expect(page.locator("[data-step='Step 39'] [data-index]").first()).toBeVisible();
  await page.getByRole("button", { name: /^Recap of 500 hosts/ }).click();
  await expect(page.locator("[data-host]").first()).toHaveAttribute("data-host", "web007");
  expect(await nodes(page)).toBeLessThan(3000);
  report("longest frame, recap", await scroll(page, "[role=table]"));
  report("longest frame, results", await scroll(page, "[data-step='Step 39'] [role=group]"));
  expect(await nodes(page)).toBeLessThan(3000);

  await page.getByLabel("Filter hosts").fill("web49");
  await expect(page.locator("[data-host]")).toHaveCount(10);
});

test("equal results are folded and can be opened", async ({ page }) => {
  await serve(page);
  await page.goto(`/ui/deployments/${ID}`);
  const step2 = page.locator("[data-step='Step 2']");
  await step2.locator("> button").click();
  const folded = step2.getByRole("button", { name: /^500 hosts: Changed/ });
  await folded.focus();
  await page.keyboard.press("Enter");
  await expect(step2.getByText("web000", { exact: true })).toBeVisible();
  expect(await nodes(page)).toBeLessThan(3000);
});
