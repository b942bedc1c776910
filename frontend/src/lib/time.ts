/** Timestamps shown in front of log lines. */
export const LINE_TIMES = ["off", "clock", "elapsed"] as const;
export type LineTimes = typeof LINE_TIMES[number];

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** "< 0.1 s", "3.2 s", "12 s", "3 min 4 s", "2 h 10 min": at most two units. */
export function formatDuration(milliseconds: number): string {
  const ms = Math.max(0, milliseconds);
  if (ms < SECOND / 10) return "< 0.1 s";
  if (ms < 10 * SECOND) return `${Math.floor(ms / 100) / 10} s`;
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min ${Math.floor(ms % MINUTE / SECOND)} s`;
  return `${Math.floor(ms / HOUR)} h ${Math.floor(ms % HOUR / MINUTE)} min`;
}

/** The same in whole seconds, for running deployments that update once a second. */
export function formatElapsed(milliseconds: number): string {
  return milliseconds < 10 * SECOND ? `${Math.max(0, Math.floor(milliseconds / SECOND))} s` : formatDuration(milliseconds);
}

const STEPS: [limit: number, unit: Intl.RelativeTimeFormatUnit, size: number][] = [
  [MINUTE, "second", SECOND],
  [HOUR, "minute", MINUTE],
  [DAY, "hour", HOUR],
  // "90 days" is what people chose and remember, not "2 months".
  [100 * DAY, "day", DAY],
  [365 * DAY, "month", 30.44 * DAY],
  [Infinity, "year", 365 * DAY],
];

/** "5 minutes ago", "in 3 days"; less than ten seconds in either direction is "now". */
export function formatRelative(at: Date, now: number, locale: string): string {
  const difference = at.getTime() - now;
  const format = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  const distance = Math.abs(difference);
  if (distance < 10 * SECOND) return format.format(0, "second");
  const [, unit, size] = STEPS.find(([limit]) => distance < limit) ?? [0, "year" as const, 365 * DAY];
  return format.format(Math.sign(difference) * Math.floor(distance / size), unit);
}

/** The language and region for dates and times: the browser's. The texts of the page exist in English only. */
export function timeLocale(): string {
  return navigator.languages[0] ?? navigator.language;
}

/** The date and the time with its zone; the month is a word, so the order of the numbers doesn't matter. */
export function formatDateTime(at: Date, locale: string): string {
  return new Intl.DateTimeFormat(locale, {
    year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
  }).format(at);
}

/** Returns the time of day of a log line, "14:03:07.123", in the user's time zone. */
export function formatClock(at: Date): string {
  const pad = (value: number, width = 2) => String(value).padStart(width, "0");
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}.${pad(at.getMilliseconds(), 3)}`;
}

/** Returns the time from the start to a log line: "+0:07.123", "+1:02:03.004". */
export function formatOffset(milliseconds: number): string {
  const ms = Math.max(0, Math.round(milliseconds));
  const pad = (value: number, width = 2) => String(value).padStart(width, "0");
  const [hours, minutes] = [Math.floor(ms / HOUR), Math.floor(ms % HOUR / MINUTE)];
  const seconds = Math.floor(ms % MINUTE / SECOND);
  const clock = hours > 0 ? `${hours}:${pad(minutes)}` : String(minutes);
  return `+${clock}:${pad(seconds)}.${pad(ms % SECOND, 3)}`;
}

/** Returns the milliseconds between two ISO times; until `now` if not finished; null if not started. */
export function elapsed(started: string | null, finished: string | null, now: number): number | null {
  if (started === null) return null;
  return (finished === null ? now : Date.parse(finished)) - Date.parse(started);
}
