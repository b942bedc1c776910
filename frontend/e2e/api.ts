import type { Page } from "@playwright/test";
import { account } from "./target";

export interface Started {
  id: number;
  state: string;
}

interface Service {
  id: number;
  name: string;
}

interface Access {
  groups: { id: number; is_everyone: boolean }[];
  grants: { id: number; group_id: number | null }[];
}

/** The API with the test user's token, for setup outside the browser. */
export class Api {
  readonly #page: Page;
  readonly #token: string;
  #services: Promise<Service[]> | undefined;

  private constructor(page: Page, token: string) {
    this.#page = page;
    this.#token = token;
  }

  static async of(page: Page): Promise<Api> {
    const { user, password } = account();
    const answer = await page.request.post("/token", { form: { username: user, password } });
    const { access_token: token } = await answer.json() as { access_token: string };
    return new Api(page, token);
  }

  async #ask(method: string, path: string, data?: object): Promise<unknown> {
    const headers = { Authorization: `Bearer ${this.#token}` };
    const answer = await this.#page.request.fetch(path, { method, headers, data });
    if (!answer.ok()) throw new Error(`${method} ${path}: ${answer.status()} ${await answer.text()}`);
    return answer.headers()["content-type"]?.includes("json") ? answer.json() : answer.text();
  }

  async serviceId(name: string): Promise<number | null> {
    // Fetched once, because the services do not change during a test.
    this.#services ??= this.#ask("GET", "/services/") as Promise<Service[]>;
    return (await this.#services).find(service => service.name === name)?.id ?? null;
  }

  async createUser(name: string, password: string): Promise<void> {
    await this.#ask("POST", "/users/", { name, password });
  }

  /** Deletes all groups and grants, except those that a new installation starts with. */
  async resetAccess(): Promise<void> {
    const { groups, grants } = await this.#ask("GET", "/access/") as Access;
    for (const { id, is_everyone: all } of groups) if (!all) await this.#ask("DELETE", `/groups/${id}`);
    const everyone = groups.find(group => group.is_everyone)?.id;
    const add = ["manage", "sync"].map(permission => ({ permission, group_id: everyone }));
    const remove = grants.filter(({ group_id: id }) => id === null || id === everyone).map(({ id }) => id);
    await this.#ask("POST", "/access/", { add, remove });
  }

  async start(service: string, env: object = {}, confirm?: string): Promise<Started> {
    const id = await this.serviceId(service);
    return await this.#ask("POST", `/services/${id}/deployments`, { env, origin: "frontend", confirm }) as Started;
  }

  async cancel(id: number): Promise<void> {
    await this.#ask("POST", `/deployments/${id}/cancel`);
  }

  /** Waits until it has ended and returns its outcome. */
  async ended(id: number): Promise<string> {
    for (;;) {
      const { state } = await this.#ask("GET", `/deployments/${id}`) as Started;
      if (state !== "queued" && state !== "running") return state;
      await this.#page.waitForTimeout(100);
    }
  }

  async outputLines(id: number): Promise<string[]> {
    const text = await this.#ask("GET", `/deployments/${id}/output.txt`) as string;
    return text.replace(/\n$/, "").split("\n");
  }
}
