export interface Sequenced {
  seq: number;
}

/** How far one deployment has been applied, and the messages that arrived ahead of their turn (sorted, unique). */
export interface Sequence<M extends Sequenced> {
  cursor: number;
  early: readonly M[];
}

export interface Merged<M extends Sequenced> {
  sequence: Sequence<M>;
  /** To be applied now, in order, each once. */
  ready: M[];
  /** Something between the cursor and the early messages is missing. */
  gap: boolean;
}

/** An answer to "what came after `after`?": complete from there to `upTo`, so numbers absent in it don't exist. */
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

/** Takes messages in any order, with duplicates and holes: gives out those whose turn it is, keeps the others. */
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

/** Takes a complete page of the history, and then whatever had been waiting for it. */
export function mergePage<M extends Sequenced>(sequence: Sequence<M>, page: Page<M>): Merged<M> {
  if (page.after > sequence.cursor) return mergeBySeq(sequence, page.events);
  const upTo = Math.max(sequence.cursor, page.upTo);
  const known = sortedUnique(sequence.cursor, sequence.early, page.events);
  const covered = known.filter(message => message.seq <= upTo);
  const rest = mergeBySeq({ cursor: upTo, early: [] }, known.slice(covered.length));
  return { ...rest, ready: [...covered, ...rest.ready] };
}
