export interface Sequenced {
  seq: number;
}

/** The last applied `seq` of a deployment, and the messages that arrived early (sorted, unique). */
export interface Sequence<M extends Sequenced> {
  cursor: number;
  early: readonly M[];
}

export interface Merged<M extends Sequenced> {
  sequence: Sequence<M>;
  /** Messages to apply now, in order, each once. */
  ready: M[];
  /** Messages between the cursor and the early ones are missing. */
  gap: boolean;
}

/** The events after `after`, complete up to `upTo`: a `seq` missing in between does not exist. */
export interface Page<M extends Sequenced> {
  after: number;
  upTo: number;
  events: readonly M[];
}

export function startSequence<M extends Sequenced>(cursor: number): Sequence<M> {
  return { cursor, early: [] };
}

function sortedUnique<M extends Sequenced>(cursor: number, ...batches: (readonly M[])[]): M[] {
  const bySeq = new Map<number, M>();
  for (const message of batches.flat()) if (message.seq > cursor) bySeq.set(message.seq, message);
  return [...bySeq.values()].sort((a, b) => a.seq - b.seq);
}

/** Accepts messages in any order, with duplicates and gaps; returns those that are due and keeps the others. */
export function mergeBySeq<M extends Sequenced>(sequence: Sequence<M>, incoming: readonly M[]): Merged<M> {
  const waiting = sortedUnique(sequence.cursor, sequence.early, incoming);
  let { cursor } = sequence;
  let taken = 0;
  while (waiting[taken]?.seq === cursor + 1) {
    cursor += 1;
    taken += 1;
  }
  const early = waiting.slice(taken);
  return { sequence: { cursor, early }, ready: waiting.slice(0, taken), gap: early.length > 0 };
}

/** Applies a complete page of the history, then the messages that were waiting for it. */
export function mergePage<M extends Sequenced>(sequence: Sequence<M>, page: Page<M>): Merged<M> {
  if (page.after > sequence.cursor) return mergeBySeq(sequence, page.events);
  const upTo = Math.max(sequence.cursor, page.upTo);
  const known = sortedUnique(sequence.cursor, sequence.early, page.events);
  const covered = known.filter(message => message.seq <= upTo);
  const rest = mergeBySeq({ cursor: upTo, early: [] }, known.slice(covered.length));
  return { ...rest, ready: [...covered, ...rest.ready] };
}
