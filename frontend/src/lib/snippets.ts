import { activeFields, toEnv, type Field } from "./inputs/fields";
import { isSchema } from "./inputs/schema";

export interface Snippet {
  id: "curl" | "github" | "gitlab" | "cli";
  name: string;
  code: string;
}

/** Returns a sample value for a required input: an example, a choice, or a placeholder with its name. */
function exampleOf(field: Field): unknown {
  if (field.example) return field.example;
  const [choice] = field.choices;
  if (choice) return field.kind === "choices" ? [choice.value] : choice.value;
  if (field.kind === "number") return field.schema.minimum ?? 1;
  if (field.kind === "date") return "2030-01-31";
  return field.kind === "multiline" || field.kind === "text" || field.kind === "secret" ? `YOUR ${field.name}` : undefined;
}

/** Returns sample values for the required inputs without a default. Conditions are evaluated with no values. */
export function exampleEnv(schema: unknown): Record<string, unknown> {
  if (!isSchema(schema)) return {};
  const fields = activeFields(schema, {}, () => false)
    .filter(field => field.required && field.schema.default === undefined);
  const values = Object.fromEntries(fields.map(field => [field.name, exampleOf(field)]));
  return toEnv(fields, values);
}

/** Quotes a text as one word for a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * Returns a shell script that starts a deployment, waits for it, and fails if it fails. It survives server restarts:
 * requests are retried, and the idempotency key prevents a second deployment.
 */
function script(url: string, key: string, env: Record<string, unknown>): string[] {
  return [
    `URL=${url}`,
    "ask() {",
    "  curl --silent --show-error --fail-with-body --retry 30 --retry-delay 2 --retry-connrefused \\",
    "    --header \"Authorization: Bearer $FASTDEPLOY_TOKEN\" --header \"Content-Type: application/json\" \"$@\"",
    "}",
    `started=$(ask --request POST "$URL/deployments/" --header "Idempotency-Key: ${key}" \\`,
    `  --data ${quoted(JSON.stringify({ env }))})`,
    "id=$(printf '%s' \"$started\" | jq .id)",
    "echo \"See $URL/ui/deployments/$id\"",
    "state=queued",
    "while [ \"$state\" = queued ] || [ \"$state\" = running ]; do",
    "  sleep 3",
    "  answer=$(ask \"$URL/deployments/$id\")",
    "  state=$(printf '%s' \"$answer\" | jq --raw-output .state)",
    "done",
    "echo \"Deployment $id: $state\"",
    "[ \"$state\" = success ]",
  ];
}

const indent = (lines: readonly string[], by: number) => lines.map(line => " ".repeat(by) + line);

/** Returns snippets that deploy `service` with its token and wait for the outcome; `url` is this server's own. */
export function deploySnippets(url: string, service: string, schema: unknown): Snippet[] {
  const env = exampleEnv(schema);
  const options = Object.entries(env).map(([name, value]) =>
    ` -e ${quoted(`${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)}`).join("");
  return [
    {
      id: "github",
      name: "GitHub Actions",
      code: [
        "deploy:",
        "  runs-on: ubuntu-latest",
        "  steps:",
        `    - name: Deploy ${service}`,
        "      env:",
        "        FASTDEPLOY_TOKEN: ${{ secrets.FASTDEPLOY_TOKEN }}",
        "      run: |",
        ...indent(script(url, "$GITHUB_RUN_ID-$GITHUB_RUN_ATTEMPT", env), 8),
      ].join("\n"),
    },
    {
      id: "gitlab",
      name: "GitLab CI",
      code: [
        "deploy:",
        "  stage: deploy",
        "  image: alpine",
        "  before_script:",
        "    - apk add --no-cache curl jq",
        "  script:",
        "    - |",
        ...indent(["set -eu", ...script(url, "$CI_JOB_ID", env)], 6),
      ].join("\n"),
    },
    {
      id: "curl",
      name: "curl",
      code: ["#!/bin/sh", "set -eu", ...script(url, "$(date +%s)-$$", env)].join("\n"),
    },
    {
      id: "cli",
      name: "fastdeploy",
      code: [`export FASTDEPLOY_URL=${url}`, `fastdeploy deploy --watch${options}`].join("\n"),
    },
  ];
}
