import { execFile } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { deploySnippets, exampleEnv } from "@/lib/snippets";

const URL = "https://deploy.example.com";
const schema = {
  type: "object",
  properties: {
    version: { type: "string", examples: ["it's 1.4"] }, where: { enum: ["staging", "production"] },
    token: { type: "string", writeOnly: true }, count: { type: "integer", minimum: 2 }, size: { type: "string", default: "s" },
    note: { type: "string" },
  },
  required: ["version", "where", "token", "count", "size"],
};
const codeOf = (id: string, inputs: unknown = null) =>
  deploySnippets(URL, "shop", inputs).find(snippet => snippet.id === id)?.code ?? "";

describe("snippets", () => {
  it("contain the URL, and only the name of the secret with the token", () => {
    for (const id of ["curl", "github", "gitlab"]) {
      expect(codeOf(id)).toContain(`URL=${URL}\n`);
      expect(codeOf(id)).toContain("$FASTDEPLOY_TOKEN");
    }
    expect(codeOf("cli")).toBe(`export FASTDEPLOY_URL=${URL}\nfastdeploy deploy --watch`);
  });

  it("show required inputs", () => {
    expect(exampleEnv(schema)).toEqual({ version: "it's 1.4", where: "staging", token: "YOUR token", count: 2 });
    expect(exampleEnv(null)).toEqual({});
    expect(codeOf("cli", schema)).toContain("-e 'count=2'");
  });
});

describe("the script in a snippet", () => {
  let folder: string;
  beforeEach(() => { folder = mkdtempSync(join(tmpdir(), "snippet-")); });
  afterEach(() => rmSync(folder, { recursive: true }));

  function program(name: string, text: string): void {
    writeFileSync(join(folder, name), text);
    chmodSync(join(folder, name), 0o755);
  }

  /** Runs the script with a curl and a jq that act as the server. */
  function run(states: string[], inputs: unknown = null): Promise<{ code: number; sent: string }> {
    writeFileSync(join(folder, "answers"), ["7", ...states].join("\n"));
    program("curl", "#!/bin/sh\nprintf '%s\\n' \"$@\" >> \"$0.log\"\n"
    + "head -n 1 \"${0%/*}/answers\"; sed -i 1d \"${0%/*}/answers\"\n");
    program("jq", "#!/bin/sh\ncat\n");
    program("sleep", "#!/bin/sh\n");
    const file = join(folder, "deploy.sh");
    writeFileSync(file, codeOf("curl", inputs));
    return new Promise((done) => {
      execFile("sh", [file], { env: { PATH: `${folder}:/usr/bin:/bin`, FASTDEPLOY_TOKEN: "t" } }, (error) => {
        done({ code: error ? Number(error.code) : 0, sent: readFileSync(join(folder, "curl.log"), "utf8") });
      });
    });
  }

  it("waits for the outcome and exits with it", async () => {
    const good = await run(["queued", "running", "success"]);
    expect(good.code).toBe(0);
    expect(good.sent.match(/\/deployments\/7$/gm)).toHaveLength(3);
    expect((await run(["running", "failure"])).code).toBe(1);
    expect((await run(["cancelled"])).code).toBe(1);
  });

  it("times out when there is no response", async () => {
    expect((await run([])).code).toBe(1);
  });

  it("sends any value unchanged", async () => {
    const { sent } = await run(["success"], schema);
    expect(sent).toContain(JSON.stringify({ env: exampleEnv(schema) }));
  });
});
