/** The order in which pages and new events come is the test's own: `api` is a stand-in that keeps what is subscribed. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Api } from '../src/api.ts';
import type { LogEvent } from '../src/log/notes.ts';
import { LogSource } from '../src/log/source.ts';

interface Reading {
  input: { tail?: number; lastEventId?: number };
  onData(message: { data: LogEvent }): void;
  onComplete(): void;
}

globalThis.requestAnimationFrame = () => 1;

function opened(): { source: LogSource; readings: Reading[] } {
  const readings: Reading[] = [];
  const subscribe = (input: Reading['input'], handlers: Omit<Reading, 'input'>) => {
    readings.push({ input, ...handlers });
    return { unsubscribe() {} };
  };
  const api = { stream: { taskEvents: { subscribe } } } as unknown as Api;
  const source = new LogSource(api, 'task-1', null, () => {});
  source.openAtEnd();
  return { source, readings };
}

/** An event whose lines name it. */
function output(seq: number, lines: number): { data: LogEvent } {
  const at = '2026-01-01T00:00:00Z';
  const data = `${seq}\n`.repeat(lines);
  return {
    data: { type: 'output', stream: 'stdout', data, taskId: 'task-1', seq, job: 0, attempt: 1, at, storedAt: at },
  };
}

function ends(source: LogSource): [string | undefined, string | undefined] {
  const { lines } = source.model;
  return [lines.at(0)?.text, lines.at(lines.length - 1)?.text];
}

test('an older page comes before the first line', () => {
  const { source, readings } = opened();
  readings[0]?.onData(output(50, 400));
  source.older();
  assert.equal(readings[1]?.input.lastEventId, 48);
  readings[1]?.onData(output(49, 10));
  readings[1]?.onComplete();
  assert.deepEqual(ends(source), ['49', '50']);
});

test('an older page takes no place of the end that is followed', () => {
  const { source, readings } = opened();
  readings[0]?.onData(output(50, 400));
  source.older();
  readings[0]?.onData(output(51, 19_000));
  readings[1]?.onData(output(49, 5000));
  readings[1]?.onComplete();
  assert.deepEqual(ends(source), ['50', '51']);
  assert.equal(source.model.after, 51);
});

test('an older page is dropped when the lines after it are gone', () => {
  const { source, readings } = opened();
  readings[0]?.onData(output(50, 400));
  source.older();
  for (const seq of [51, 52, 53]) readings[0]?.onData(output(seq, 9000));
  assert.equal(ends(source)[0], '51');
  source.following = false;
  readings[1]?.onData(output(49, 10));
  readings[1]?.onComplete();
  assert.deepEqual(ends(source), ['51', '53']);
  assert.equal(source.model.before, 52);
});
