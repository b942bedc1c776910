import type { HostResult, Outcome, Step } from "@/api/types";

/** Failures first. */
const ORDER: readonly Outcome[] = ["unreachable", "failed", "rescued", "ignored", "changed", "ok", "skipped"];
export const BAD: readonly Outcome[] = ["failed", "unreachable"];

/** Several hosts with the same outcome and message. */
export interface ResultGroup {
  key: string;
  outcome: Outcome;
  message: string;
  results: HostResult[];
}

type Counts = Step["host_counts"];
type Translate = (key: string, named: { n: number }) => string;

/** The number of hosts on which a step has a result. */
export function hostsOf(step: Pick<Step, "host_counts">): number {
  return Object.values(step.host_counts ?? {}).reduce((sum, count) => sum + count, 0);
}

/** The number of hosts on which a step failed. */
export function failuresOf(step: Pick<Step, "host_counts">): number {
  return BAD.reduce((sum, outcome) => sum + (step.host_counts?.[outcome] ?? 0), 0);
}

/** Texts such as "2 failed", failures first. */
export function countTexts(counts: Counts, t: Translate): string[] {
  return ORDER.filter(outcome => counts?.[outcome]).map(outcome => t(`hosts.count.${outcome}`, { n: counts?.[outcome] ?? 0 }));
}

function place(outcome: Outcome): number {
  const at = ORDER.indexOf(outcome);
  return at < 0 ? ORDER.length : at;
}

const names = new Intl.Collator("en", { numeric: true });

/** Folds equal results, failures first, hosts in natural order. */
export function fold(results: Iterable<HostResult>): ResultGroup[] {
  const groups = new Map<string, ResultGroup>();
  for (const result of results) {
    const key = `${result.outcome} ${result.message}`;
    const group = groups.get(key) ?? { key, outcome: result.outcome, message: result.message, results: [] };
    groups.set(key, group);
    group.results.push(result);
  }
  for (const group of groups.values()) group.results.sort((a, b) => names.compare(a.host, b.host));
  const first = (group: ResultGroup) => group.results[0]?.host ?? "";
  return [...groups.values()].sort((a, b) => place(a.outcome) - place(b.outcome) || names.compare(first(a), first(b)));
}
