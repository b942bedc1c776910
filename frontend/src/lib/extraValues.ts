export interface ExtraValue {
  /** Identifies the row while it is edited. */
  row: number;
  key: string;
  value: string;
}

export type ExtraValuesFault = { kind: "duplicate"; key: string } | { kind: "nameless" };

/** Converts form rows to the deployment's `env`. Empty rows are dropped. */
export function toEnv(extraValues: readonly ExtraValue[]): Record<string, string> {
  return Object.fromEntries(extraValues.filter(({ key }) => key.trim()).map(({ key, value }) => [key.trim(), value]));
}

/** Converts the `env` of a deployment to form rows. */
export function fromEnv(env: Readonly<Record<string, unknown>>): ExtraValue[] {
  return Object.entries(env).map(([key, value], index) =>
    ({ row: index + 1, key, value: typeof value === "string" ? value : JSON.stringify(value) }));
}

export function findFault(extraValues: readonly ExtraValue[]): ExtraValuesFault | null {
  const seen = new Set<string>();
  for (const { key, value } of extraValues) {
    const name = key.trim();
    if (!name && value) return { kind: "nameless" };
    if (name && seen.has(name)) return { kind: "duplicate", key: name };
    seen.add(name);
  }
  return null;
}
