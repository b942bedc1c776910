import { describe, expect, it } from "vitest";
import { describeValue } from "@/lib/inputs/display";

const t = (key: string, named?: Record<string, unknown>) => named ? `${key} ${String(named.value)}` : key;
const INPUTS = {
  type: "object",
  properties: {
    target: { title: "Target", oneOf: [{ const: "prod", title: "Production" }, { const: "stage", title: "Staging" }] },
    parts: { type: "array", items: { oneOf: [{ const: "web", title: "Web server" }, { const: "db", title: "Database" }] } },
    migrate: { type: "boolean", title: "Migrate the database" },
    pin: { type: "string", writeOnly: true },
  },
  if: { properties: { target: { const: "prod" } } },
  then: { properties: { ticket: { $ref: "#/$defs/ticket" } } },
  $defs: { ticket: { type: "string", title: "Change ticket" } },
};

describe("a value of a deployment", () => {
  it.each([
    ["target", "prod", "Target", "Production"],
    ["target", "old", "Target", "old"],
    ["parts", ["web", "db"], "Parts", "Web server, Database"],
    ["parts", [], "Parts", "inputs.nothing"],
    ["migrate", true, "Migrate the database", "inputs.on"],
    ["pin", "***", "Pin", "inputs.secretGiven"],
    ["ticket", "CHG-1", "Change ticket", "CHG-1"],
    ["other", { a: 1 }, "other", "{\"a\":1}"],
    ["other", 2 ** 60, "other", "inputs.rounded 1152921504606847000"],
  ])("%s is shown as people know it", (name, value, label, text) => {
    expect(describeValue(INPUTS, name, value, t)).toEqual({ label, text });
  });

  it("keeps its name without declared inputs", () => {
    expect(describeValue(undefined, "target", "prod", t)).toEqual({ label: "target", text: "prod" });
  });
});
