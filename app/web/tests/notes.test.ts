/** What the log and the timeline say of an event. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jobNames } from '../src/format/text.ts';

test('a few jobs are named and many are counted', () => {
  assert.equal(jobNames([12]), 'job 12');
  assert.equal(jobNames([1, 2]), 'jobs 1, 2');
  assert.equal(jobNames([0, 1, 2, 3, 4, 5]), '6 jobs');
});
