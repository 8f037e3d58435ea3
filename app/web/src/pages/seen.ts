/** When a person last looked at the inbox. Only this browser knows it; it is a time and holds nothing secret. */

import type { Task } from '../types.ts';

const DAY_MS = 86_400_000;

/** Return the time of the last look of a person; a day ago for the first one. */
export function lastLook(name: string): number {
  const stored = Number(localStorage.getItem(`ado.seen.${name}`));
  return stored > 0 ? stored : Date.now() - DAY_MS;
}

/** Note that a person has looked. */
export function looked(name: string): void {
  localStorage.setItem(`ado.seen.${name}`, String(Date.now()));
}

/** Return the tasks that ended after a time, the latest first. */
export function endedSince(tasks: Task[], since: number): Task[] {
  const ended = tasks.filter((task) => task.finishedAt !== undefined && Date.parse(task.finishedAt) > since);
  return ended.sort((one, other) => Date.parse(other.finishedAt ?? '') - Date.parse(one.finishedAt ?? ''));
}
