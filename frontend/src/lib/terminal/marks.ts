/** Links and search matches in the segments of a line. */
import type { Segment } from "./line";

export interface Part extends Segment {
  match?: boolean;
}

// An address ends before whitespace, quotation marks, angle brackets, and anything else that URLs do not contain.
const URL = /\bhttps?:\/\/[^\s"'`<>\\^{|}\u007f-\u00a0\u2400-\u2426]+/gi;
const TRAILING = /[.,;:!?*_~…，。；：！？」』】）]+$/;
const MAX_URL = 2000;

const CLOSING: Record<string, string> = { ")": "(", "]": "[" };

/** Removes the punctuation after an address, and closing brackets that are not opened in it. */
function trimmed(found: string): string {
  let url = found.replace(TRAILING, "");
  for (let last = url.at(-1) ?? ""; CLOSING[last]; last = url.at(-1) ?? "") {
    const count = (character: string) => url.split(character).length;
    if (count(last) <= count(CLOSING[last] ?? "")) break;
    url = url.slice(0, -1).replace(TRAILING, "");
  }
  return url;
}

type Cut = [start: number, end: number];

/** Splits segments at the given places, which must be in order, and passes the pieces within them to `change`. */
function cut<T extends Segment>(segments: T[], cuts: Cut[], change: (part: T, index: number) => T): T[] {
  const pieces: T[] = [];
  let offset = 0;
  let next = 0;
  for (const part of segments) {
    const end = offset + part.text.length;
    let from = offset;
    while (from < end) {
      while (next < cuts.length && (cuts[next]?.[1] ?? 0) <= from) next += 1;
      const [start, stop] = cuts[next] ?? [end, end];
      const isInside = start <= from;
      const to = Math.min(end, isInside ? stop : start);
      const piece = { ...part, text: part.text.slice(from - offset, to - offset) };
      pieces.push(isInside ? change(piece, next) : piece);
      from = to;
    }
    offset = end;
  }
  return pieces;
}

const textOf = (segments: Segment[]) => segments.map(part => part.text).join("");

/** Turns addresses of websites in the text into links. Links that the output sets itself are kept. */
export function linked(segments: Segment[]): Segment[] {
  const text = textOf(segments);
  if (!/https?:\/\//i.test(text)) return segments;
  const urls: string[] = [];
  const cuts: Cut[] = [];
  for (const { 0: found, index } of text.matchAll(URL)) {
    if (found.length > MAX_URL) continue;
    const url = trimmed(found);
    if (/^https?:\/*$/i.test(url)) continue;
    urls.push(url);
    cuts.push([index, index + url.length]);
  }
  return cut(segments, cuts, (part, index) => part.style.link
    ? part
    : { ...part, style: { ...part.style, link: urls[index] } });
}

/** Splits segments so that each occurrence of `query` (ignoring case) is a part with `match`. */
export function markMatches(segments: Segment[], query: string): Part[] {
  if (!query) return segments;
  const text = textOf(segments);
  const needle = query.toLowerCase();
  const whole = text.toLowerCase();
  // Some characters change their length in lower case; marks would then be in the wrong place.
  if (whole.length !== text.length) return segments;
  const cuts: Cut[] = [];
  for (let at = whole.indexOf(needle); at >= 0; at = whole.indexOf(needle, at + needle.length)) {
    cuts.push([at, at + needle.length]);
  }
  return cut<Part>(segments, cuts, part => ({ ...part, match: true }));
}
