/** Makes untrusted text visible: nothing in it hides a part or turns text around. */

// Unicode's Default_Ignorable_Code_Point, line separators, the blank of Braille, and surrogates without a partner.
const SHAPELESS =
  '\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u2800' +
  '\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}' +
  '\\ud800-\\udfff';
const CONTROLS = '\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f';
const PICTURE =
  '\\u203c\\u2049\\u2122\\u2139\\u2190-\\u27ff\\u2934-\\u2bff\\u3030\\u303d\\u3297\\u3299\\u{1f000}-\\u{1faff}';
// Joins emoji, or chooses their colours; it is part of what is seen.
const OF_A_PICTURE = `(?<=[${PICTURE}])\\ufe0f|(?<=[\\ufe0f${PICTURE}])\\u200d(?=[${PICTURE}])`;
const HIDDEN = new RegExp(`(?!${OF_A_PICTURE})[${CONTROLS}${SHAPELESS}]`, 'gu');
const RARE = /[^\t\n\x20-\x7e\u00a1-\u00ac\u00ae-\u024f\u2500-\u259f]/;

/** Return a text whose hidden characters are written as `\u200b`; line feeds and tabs stay. */
export function visible(text: string): string {
  return RARE.test(text) ? text.replace(HIDDEN, escaped) : text;
}

/** Return a text as one visible line. */
export function oneLine(text: string): string {
  return visible(text.replace(/\s*\n\s*/g, ' ').trim());
}

/** Return a member of an event as text, for a job may write any value there. */
export function textOf(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? `${value}` : '';
}

/** Return at most `limit` characters of a text, with an ellipsis if there are more. */
export function shortened(text: string, limit: number): string {
  return text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
}

/** Return a count with the right form of its noun. */
export function counted(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
}

/** Return the names of some jobs of a task, or how many there are. */
export function jobNames(jobs: readonly number[]): string {
  if (jobs.length > 5) return counted(jobs.length, 'job');
  return `job${jobs.length === 1 ? '' : 's'} ${jobs.join(', ')}`;
}

/** Return the agents of a task's jobs: one, or several in turn. */
export function agents(task: { agent: string; agents?: string[] }): string {
  return visible((task.agents ?? [task.agent]).join(', '));
}

function escaped(found: string): string {
  const code = found.codePointAt(0) ?? 0;
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, '0')}`;
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, '0')}` : `\\U${code.toString(16).padStart(8, '0')}`;
}
