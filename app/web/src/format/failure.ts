/** Why jobs and tasks failed, in words. */

import { words } from '../log/notes.ts';
import type { Job, Task } from '../types.ts';

/** Return why a job ended badly or waits, as one sentence without its end; empty if nothing is known. */
export function whyOf(one: { reason?: string; message?: string; exitCode?: number }): string {
  const message = one.message ?? '';
  const code = one.exitCode === undefined || one.exitCode === 0 ? '' : `exit code ${one.exitCode}`;
  // such a message is the exit code, which says more than the word
  if (one.reason === undefined || one.reason === 'exit_nonzero') return message || code;
  const reason = words(one.reason);
  if (message === '') return code === '' ? reason : `${reason}, ${code}`;
  return message.toLowerCase().startsWith(reason) ? message : `${reason}: ${message}`;
}

/** Return the failed jobs of a task: the one that failed first, then the others by number. */
export function failedJobs(task: Task): Job[] {
  const failed = task.jobs.filter((job) => job.status === 'failed');
  return failed.sort((one, other) => rank(task, one) - rank(task, other));
}

function rank(task: Task, job: Job): number {
  return job.job === task.failedJob ? -1 : job.job;
}

/** Return the failed job after a job, from the first one again after the last; undefined if none has failed. */
export function nextFailed(task: Task, job: number | null): number | undefined {
  const failed = task.jobs.filter((one) => one.status === 'failed').map((one) => one.job);
  return failed.find((one) => one > (job ?? -1)) ?? failed[0];
}
