/** Splits a line into text, control characters, and escape sequences. */

// Everything that is not plain text. The last ranges change the direction of text, which can make a line look like a
// different one.
export const SPECIAL = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;

export const TOKEN = new RegExp([
  "(?<text>[^\\u0000-\\u0008\\u000a-\\u001f\\u007f-\\u009f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]+)",
  // Colors, cursor movements, and erasures.
  "\\u001b\\[(?<parameters>[0-?]*)[ -/]*(?<final>[@-~])?",
  // Links, titles, and other strings, up to their terminator.
  "\\u001b(?<kind>[\\]PX^_])(?<string>[^\\u0007\\u0018\\u001a\\u001b]*)(?:\\u0007|\\u001b\\\\|\\u0018|\\u001a)?",
  "\\u001b(?<set>[()])(?<charset>[0-~])",
  "\\u001b[ -/]*(?<escape>[0-~]?)",
  "(?<control>[^])",
].join("|"), "g");

// Controls that move the cursor or change text that is already there. Other lines only ever append.
export const MOVES = /[\b\v\f\r]|\u001b\[[0-?]*[ -/]*[@-ln-~]|\u001b[78DEMc]/;
// A carriage return at the end of a line, possibly followed by a change of colors, as in files with Windows line ends.
export const LINE_END = /\r+((?:\u001b\[[0-9;:]*m|\u001b\(B|\u000f)*)$/;
export const LINK = /^8;[^;]*;(https?:\/\/[!-~]{1,2000})$/i;

/** The characters ` to ~ in the line drawing character set of DEC terminals. */
const DRAWING = "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·";

export function draw(text: string): string {
  return text.replace(/[`-~]/g, character => DRAWING[character.charCodeAt(0) - 0x60] ?? character);
}

/** Returns the visible text for a control character that has no effect on the line. */
export function picture(control: string): string {
  const code = control.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "␡";
  if (code < 0xa0) return `\\x${code.toString(16)}`;
  return code < 0x202a ? " " : "";
}
