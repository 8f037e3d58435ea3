import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogModel } from '../src/log/model.ts';
import type { LogEvent } from '../src/log/notes.ts';

function output(seq: number, data: string, job = 0): LogEvent {
  const at = '2026-01-01T00:00:00Z';
  return { type: 'output', stream: 'stdout', data, taskId: 'task-1', seq, job, attempt: 1, at, storedAt: at };
}

function texts(model: LogModel): string[] {
  return model.lines.slice(0, model.lines.length).map((line) => line.text);
}

test('an event that comes again changes nothing', () => {
  const model = new LogModel(100);
  model.append(output(1, 'one\n'));
  model.append(output(2, 'two\n'));
  model.append(output(1, 'one\n'));
  model.append(output(2, 'two\n'));
  assert.deepEqual(texts(model), ['one', 'two']);
});

test('the oldest lines go when there are too many, and can be read again', () => {
  const model = new LogModel(3);
  for (let seq = 1; seq <= 10; seq++) model.append(output(seq, `line ${seq}\n`));
  assert.deepEqual(texts(model), ['line 8', 'line 9', 'line 10']);
  assert.equal(model.before, 8);
  model.prepend([output(6, 'line 6\n'), output(7, 'line 7\n')], 6);
  assert.deepEqual(texts(model), ['line 6', 'line 7', 'line 8']);
  assert.equal(model.before, 6);
  assert.equal(model.after, 8);
  model.append(output(9, 'line 9\n'));
  assert.deepEqual(texts(model), ['line 7', 'line 8', 'line 9']);
});

test('a line that two pages share is one line', () => {
  const model = new LogModel(100);
  model.append(output(5, 'second half\nnext\n'));
  model.prepend([output(4, 'before\nfirst half, ')], 4);
  assert.deepEqual(texts(model), ['before', 'first half, second half', 'next']);
});

test('a line goes on growing after an older page was joined to it', () => {
  const model = new LogModel(100);
  model.append(output(5, 'b'));
  model.prepend([output(4, 'a')], 4);
  model.append(output(6, 'c\n'));
  assert.deepEqual(texts(model), ['abc']);
});

test('an event with members of any shape spoils no other', () => {
  const model = new LogModel(1000);
  const names = ['text_delta', 'text', 'tool_end', 'retry', 'permission', 'error', 'result', 'unknown'];
  const types = ['progress', 'check', 'dropped', 'rate_limited', 'checkpoint', 'budget'];
  const strange: unknown[] = [5, true, null, [1], {}, { toString: 1, valueOf: 1 }];
  const members =
    'event text message tool title ok exitCode added removed output percent command bytes reason agent until kind';
  let seq = 0;
  for (const value of strange) {
    const odd = Object.fromEntries(members.split(' ').map((name) => [name, value]));
    const given = [
      ...names.map((event) => ({ ...odd, type: 'agent', event, decision: 'denied', kind: 'other' })),
      ...names.map((event) => ({ type: 'agent', event, title: value })),
      ...[...types, 'agent'].map((type) => ({ ...odd, type })),
    ];
    for (const event of given) {
      seq += 1;
      model.append({ ...output(seq, ''), ...event } as unknown as LogEvent);
    }
  }
  model.append(output(seq + 1, '\nthe end\n'));
  assert.equal(texts(model).at(-1), 'the end');
});

test('jobs write lines of their own', () => {
  const model = new LogModel(100);
  model.append(output(1, 'from 0, ', 0));
  model.append(output(2, 'from 1, ', 1));
  model.append(output(3, 'more of 0\n', 0));
  model.append(output(4, 'more of 1\n', 1));
  assert.deepEqual(texts(model), ['from 0, more of 0', 'from 1, more of 1']);
});

test('bytes that are no text are shown as replacement characters', () => {
  const model = new LogModel(100);
  model.append({ ...output(1, btoa('a\xffb\n')), encoding: 'base64' } as LogEvent);
  assert.deepEqual(texts(model), ['a\ufffdb']);
});

test('an event that lost some of its lines is read again as a whole', () => {
  const model = new LogModel(4);
  model.append(output(2, 'a\nb\nc\n'));
  model.append(output(3, 'd\ne\n'));
  assert.deepEqual(texts(model), ['b', 'c', 'd', 'e']);
  assert.equal(model.before, 3);
  model.prepend([output(2, 'a\nb\nc\n')], 2);
  assert.deepEqual(texts(model), ['a', 'b', 'c']);
  assert.equal(model.after, 2, 'event 3 did not fit as a whole');
});
