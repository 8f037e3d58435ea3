/** Times and durations for a person. */

// Kept, because making one takes as long as a hundred uses of it, and a log shows thousands of times a second.
const DATE_AND_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' });
const TIME_OF_DAY = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium', hour12: false });

/** Return when a time comes, as `in 5m`, or `now` if it has come. */
export function until(time: string, now: number): string {
  const seconds = Math.ceil((Date.parse(time) - now) / 1000);
  return seconds < 1 ? 'now' : `in ${duration(seconds)}`;
}

/** Return how long ago a time was, as `now`, `12s`, `5m`, `3h` or `2d`. */
export function ago(time: string, now: number): string {
  const seconds = Math.floor((now - Date.parse(time)) / 1000);
  return seconds < 1 ? 'now' : duration(seconds, 1);
}

const UNITS: [string, number][] = [
  ['d', 86_400],
  ['h', 3600],
  ['m', 60],
  ['s', 1],
];

/** Return seconds as `1h 5m`, with at most `parts` units. */
export function duration(seconds: number, parts = 2): string {
  let rest = Math.max(0, Math.floor(seconds));
  const texts: string[] = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    if (count === 0 && texts.length === 0 && unit !== 's') continue;
    if (count > 0 || texts.length === 0) texts.push(`${count}${unit}`);
    rest -= count * size;
    if (texts.length === parts || (texts.length > 0 && count === 0)) break;
  }
  return texts.join(' ');
}

/** Return the seconds from a start to an end, or to now. */
export function elapsed(start: string, end: string | undefined, now: number): number {
  return ((end === undefined ? now : Date.parse(end)) - Date.parse(start)) / 1000;
}

/** Return a time exactly, in the reader's zone and in UTC. */
export function exact(time: string): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return time;
  return `${DATE_AND_TIME.format(date)} (${date.toISOString()})`;
}

/** Return the time of day in the reader's zone, as `14:03:07`. */
export function clock(time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? '' : TIME_OF_DAY.format(date);
}
