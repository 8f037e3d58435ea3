/** Why a job failed, in words, and which failed job comes next. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failedJobs, nextFailed, whyOf } from '../src/format/failure.ts';
import { words } from '../src/log/notes.ts';
import type { Task } from '../src/types.ts';

test('the reason is said once and with what is known', () => {
  assert.equal(whyOf({ reason: 'exit_nonzero', message: 'exit code 3', exitCode: 3 }), 'exit code 3');
  assert.equal(whyOf({ reason: 'exit_nonzero', exitCode: 3 }), 'exit code 3');
  assert.equal(whyOf({ reason: 'timed_out', exitCode: 0 }), 'timed out');
  assert.equal(
    whyOf({ reason: 'check_failed', message: 'npm test: exit code 1' }),
    'check failed: npm test: exit code 1',
  );
  assert.equal(whyOf({ reason: 'lost', message: 'Lost with its worker' }), 'Lost with its worker');
  assert.equal(whyOf({}), '');
  assert.equal(words('exit_nonzero'), 'nonzero exit code');
});

test('the job that failed first is first, and the next failed one is found around the end', () => {
  const jobs = [0, 1, 2, 3].map((job) => ({ job, status: job % 2 === 1 ? 'failed' : 'succeeded' }));
  const task = { jobs, failedJob: 3 } as Task;
  assert.deepEqual(
    failedJobs(task).map((job) => job.job),
    [3, 1],
  );
  assert.deepEqual([nextFailed(task, null), nextFailed(task, 1), nextFailed(task, 3)], [1, 3, 1]);
});
