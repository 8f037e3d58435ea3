/** How the list of tasks is filtered and grouped. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filterOf, grouped, inputOf, searchOf } from '../src/pages/task_filter.ts';

test('a filter survives its address', () => {
  const search = '?status=failed&q=fix+it&mine=1&agent=codex&label=team%3Dcore&label=odd&group=team';
  const filter = filterOf(search);
  assert.equal(searchOf(filter), search);
  assert.deepEqual(inputOf(filter), {
    status: 'failed',
    search: 'fix it',
    mine: true,
    agents: ['codex'],
    labels: { team: 'core' },
    labelNames: ['odd'],
  });
  assert.deepEqual(inputOf(filterOf('')), {});
});

test('tasks are grouped by the values of a label, those without it last', () => {
  const tasks = [{}, { team: 'b' }, { team: 'a' }, { team: 'b' }, { team: '' }].map((labels) => ({ labels }));
  const found = grouped(tasks as { labels: { [name: string]: string } }[], 'team');
  assert.deepEqual(
    found.map((group) => [group.value, group.tasks.length]),
    [
      ['b', 2],
      ['a', 1],
      ['', 1],
      [null, 1],
    ],
  );
  assert.deepEqual(grouped([{ labels: {} }], 'constructor'), [{ value: null, tasks: [{ labels: {} }] }]);
});
