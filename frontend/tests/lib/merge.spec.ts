import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mergeBySeq, mergePage, startSequence, type Merged, type Sequence } from "@/lib/merge";

interface Message {
  seq: number;
}

const numbers = (from: number, to: number) =>
  Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => from + index);
const messages = (seqs: number[]): Message[] => seqs.map(seq => ({ seq }));
const seqs = (list: readonly Message[]) => list.map(({ seq }) => seq);

/** Feeds the batches, and returns all messages that came out. */
function feed(start: Sequence<Message>, batches: number[][]): { sequence: Sequence<Message>; out: number[] } {
  let sequence = start;
  const out: number[] = [];
  for (const batch of batches) {
    const merged: Merged<Message> = mergeBySeq(sequence, messages(batch));
    sequence = merged.sequence;
    out.push(...seqs(merged.ready));
  }
  return { sequence, out };
}

/** Returns 1…n shuffled, with duplicates, in batches of random size. */
const delivery = fc.integer({ min: 0, max: 60 }).chain(total => fc.record({
  total: fc.constant(total),
  order: fc.shuffledSubarray(numbers(1, total), { minLength: total, maxLength: total }),
  again: fc.array(fc.integer({ min: 1, max: Math.max(1, total) }), { maxLength: 30 }),
  cut: fc.integer({ min: 1, max: 9 }),
}));

function batchesOf({ order, again, cut, total }: { order: number[]; again: number[]; cut: number; total: number }) {
  const all = total === 0 ? [] : [...order.slice(0, 5), ...again, ...order];
  return numbers(0, Math.ceil(all.length / cut)).map(index => all.slice(index * cut, (index + 1) * cut));
}

describe("messages in any order", () => {
  it("are delivered completely, in order, each once", () => {
    fc.assert(fc.property(delivery, (given) => {
      const { sequence, out } = feed(startSequence(0), batchesOf(given));
      expect(out).toEqual(numbers(1, given.total));
      expect(sequence).toEqual({ cursor: given.total, early: [] });
    }));
  });

  it("are never delivered early, no matter how many are missing", () => {
    const anything = fc.array(fc.integer({ min: 1, max: 50 }));
    fc.assert(fc.property(anything, fc.integer({ min: 1, max: 7 }), (arrived, cut) => {
      const batches = numbers(0, arrived.length).map(index => arrived.slice(index * cut, (index + 1) * cut));
      const { sequence, out } = feed(startSequence(0), batches);
      expect(out).toEqual(numbers(1, sequence.cursor));
      const early = [...new Set(arrived)].filter(seq => seq > sequence.cursor);
      expect(seqs(sequence.early)).toEqual(early.sort((a, b) => a - b));
    }));
  });

  it("report a gap exactly while messages are waiting", () => {
    expect(mergeBySeq(startSequence(3), messages([4, 5])).gap).toBe(false);
    expect(mergeBySeq(startSequence(3), messages([5])).gap).toBe(true);
    const waiting = mergeBySeq(startSequence<Message>(3), messages([6, 5])).sequence;
    expect(mergeBySeq(waiting, messages([4]))).toMatchObject({ gap: false, ready: messages([4, 5, 6]) });
  });

  it("are ignored if the cursor is past them", () => {
    expect(mergeBySeq(startSequence(9), messages([1, 9, 8]))).toEqual({
      sequence: { cursor: 9, early: [] }, ready: [], gap: false,
    });
  });
});

describe("pages of the history", () => {
  const page = (after: number, upTo: number, events: number[]) => ({ after, upTo, events: messages(events) });

  it("combined with an interrupted live stream, deliver everything once, in order", () => {
    const [rhythm, beginning] = [fc.integer({ min: 1, max: 8 }), fc.integer({ min: 0, max: 60 })];
    fc.assert(fc.property(delivery, rhythm, beginning, (given, every, from) => {
      let sequence = startSequence<Message>(Math.min(from, given.total));
      const out: number[] = [];
      const take = (merged: Merged<Message>) => {
        sequence = merged.sequence;
        out.push(...seqs(merged.ready));
      };
      batchesOf(given).forEach((batch, index) => {
        // The stream loses every third batch; sometimes the history after the cursor is fetched.
        if (index % 3 !== 0) take(mergeBySeq(sequence, messages(batch)));
        const { cursor } = sequence;
        const upTo = Math.min(given.total, cursor + every);
        if (index % every === 0) take(mergePage(sequence, page(cursor, upTo, numbers(cursor + 1, upTo))));
      });
      const { cursor } = sequence;
      take(mergePage(sequence, page(cursor, given.total, numbers(cursor + 1, given.total))));
      expect(out).toEqual(numbers(Math.min(from, given.total) + 1, given.total));
    }));
  });

  it("are complete: a missing number does not exist", () => {
    const waiting = mergeBySeq(startSequence<Message>(2), messages([7, 8])).sequence;
    const merged = mergePage(waiting, page(2, 6, [3, 5]));
    expect(seqs(merged.ready)).toEqual([3, 5, 7, 8]);
    expect(merged.sequence).toEqual({ cursor: 8, early: [] });
    expect(merged.gap).toBe(false);
  });

  it("that arrive late do not move the cursor back", () => {
    const merged = mergePage(startSequence<Message>(10), page(2, 6, [3, 4, 5, 6]));
    expect(merged).toEqual({ sequence: { cursor: 10, early: [] }, ready: [], gap: false });
  });

  it("that begin after the cursor do not close a gap", () => {
    const merged = mergePage(startSequence<Message>(2), page(5, 8, [6, 7, 8]));
    expect(merged.ready).toEqual([]);
    expect(merged.gap).toBe(true);
  });
});
