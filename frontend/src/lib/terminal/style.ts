/** Interprets SGR sequences, which set colors and text styles. */

export type Attribute = "bold" | "dim" | "italic" | "underline" | "inverse" | "strike";

/** The appearance of text. A color is an index of the 256-color palette or `#rrggbb`; absent means the default. */
export interface Style {
  readonly attributes: readonly Attribute[];
  readonly color?: number | string | undefined;
  readonly background?: number | string | undefined;
  readonly link?: string | undefined;
}

export const PLAIN: Style = { attributes: [] };

const MAX_CODES = 64;
const ATTRIBUTES: Record<number, Attribute> = {
  1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike", 21: "underline",
};
const RESETS: Record<number, Attribute[]> = {
  22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["strike"],
};

/** Reads a parameter of a sequence: the default if it is missing, and a large number if it is too long. */
export function number(text: string | undefined, missing = 0): number {
  return text && /^[0-9]+$/.test(text) ? Number(text.slice(0, 6)) : missing;
}

export function sameStyle(a: Style, b: Style): boolean {
  return a === b || (
    a.color === b.color && a.background === b.background && a.link === b.link
    && a.attributes.length === b.attributes.length && a.attributes.every(name => b.attributes.includes(name))
  );
}

/** Returns the style after an SGR sequence with these parameters, such as `1;31`. Ignores invalid codes. */
export function restyled(style: Style, parameters: string): Style {
  const fields = parameters.split(";", MAX_CODES);
  let now = style;
  for (let at = 0; at < fields.length; at += 1) {
    const [code = 0, ...details] = (fields[at] ?? "").split(":", MAX_CODES).map(part => number(part));
    if (code === 38 || code === 48 || code === 58) {
      const [color, used] = details.length ? [directColor(details), 0] : nextColor(fields, at + 1);
      if (code !== 58 && color !== null) now = { ...now, [code === 38 ? "color" : "background"]: color };
      at += used;
    } else {
      now = apply(now, code === 4 && details[0] === 0 ? 24 : code);
    }
  }
  return now;
}

function apply(style: Style, code: number): Style {
  if (code === 0) return { attributes: [], link: style.link };
  const name = ATTRIBUTES[code];
  if (name) return style.attributes.includes(name) ? style : { ...style, attributes: [...style.attributes, name] };
  const ended = RESETS[code];
  if (ended) return { ...style, attributes: style.attributes.filter(attribute => !ended.includes(attribute)) };
  const [base, bright] = code >= 90 ? [code - 60, 8] : [code, 0];
  const digit = base % 10;
  if (base < 30 || base > 49 || digit === 8 || (bright && digit === 9)) return style;
  return { ...style, [base < 40 ? "color" : "background"]: digit === 9 ? undefined : digit + bright };
}

/** Reads the color at `at`, as in `5;n` or `2;r;g;b`, and how many fields it uses. */
function nextColor(fields: string[], at: number): [color: number | string | null, used: number] {
  const kind = number(fields[at]);
  const count = kind === 5 ? 1 : kind === 2 ? 3 : 0;
  return [colorOf(kind, fields.slice(at + 1, at + 1 + count).map(field => number(field))), 1 + count];
}

/** Reads the color in `5:n`, `2:r:g:b`, or `2:<color space>:r:g:b`. */
function directColor([kind = 0, ...values]: number[]): number | string | null {
  return colorOf(kind, kind === 2 && values.length > 3 ? values.slice(1, 4) : values);
}

function colorOf(kind: number, values: number[]): number | string | null {
  const [first] = values;
  if (kind === 5 && first !== undefined && first < 256) return first;
  const rgb = values.slice(0, 3);
  if (kind !== 2 || rgb.length < 3 || Math.max(...rgb) > 255) return null;
  return `#${rgb.map(part => part.toString(16).padStart(2, "0")).join("")}`;
}

const CUBE = [0, 95, 135, 175, 215, 255] as const;

/** Converts a color to CSS, or returns null for the first sixteen of the palette, which come from the theme. */
export function toCss(color: number | string): string | null {
  if (typeof color === "string") return color;
  if (color < 16) return null;
  const grey = 8 + (color - 232) * 10;
  if (color >= 232) return `rgb(${grey}, ${grey}, ${grey})`;
  const at = color - 16;
  const [r, g, b] = [Math.floor(at / 36), Math.floor(at / 6) % 6, at % 6].map(part => CUBE[part] ?? 0);
  return `rgb(${r}, ${g}, ${b})`;
}
