import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backlog, isGap } from '../src/log/backlog.ts';
import type { LogEvent } from '../src/log/notes.ts';

const AT = '2026-01-01T00:00:00Z';
const LINES = 600;
const OF = { taskId: 'task-1', job: 0, attempt: 1, at: AT, storedAt: AT };

function output(seq: number): LogEvent {
  return { ...OF, type: 'output', stream: 'stdout', data: `${'x'.repeat(99)}\n`.repeat(LINES), seq };
}

test('what waits is bounded, every line is kept or counted, and what is no output is kept', () => {
  const backlog = new Backlog();
  for (let seq = 1; seq <= 100; seq++) {
    if (seq % 10 === 0) backlog.add({ ...OF, type: 'progress', percent: seq, seq });
    else backlog.add(output(seq));
  }
  let [kept, missing, others, characters, last] = [0, 0, 0, 0, 0];
  for (let item = backlog.next(); item !== undefined; item = backlog.next()) {
    assert.ok(item.seq > last, 'in the order of the log');
    last = item.seq;
    if (isGap(item)) missing += item.lines;
    else if (item.type === 'output') {
      kept += LINES;
      characters += item.data.length;
    } else others += 1;
  }
  assert.equal(kept + missing, 90 * LINES);
  assert.equal(others, 10);
  assert.equal(last, 100);
  assert.ok(missing > 0 && characters <= 1024 * 1024);
  assert.equal(backlog.isEmpty, true);
});

test('nothing is left out of what fits', () => {
  const backlog = new Backlog();
  for (let seq = 1; seq <= 10; seq++) backlog.add(output(seq));
  for (let seq = 1; seq <= 10; seq++) assert.equal(backlog.next()?.seq, seq);
});
