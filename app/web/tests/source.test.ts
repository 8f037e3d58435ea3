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

const frames: (() => void)[] = [];
globalThis.requestAnimationFrame = (callback) => frames.push(() => callback(0));

/** Let frames pass until nothing waits for one. */
function drawn(): void {
  for (let frame = frames.shift(); frame !== undefined; frame = frames.shift()) frame();
}

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
  drawn();
  source.older();
  assert.equal(readings[1]?.input.lastEventId, 48);
  readings[1]?.onData(output(49, 10));
  drawn();
  readings[1]?.onComplete();
  drawn();
  assert.deepEqual(ends(source), ['49', '50']);
});

test('an older page takes no place of the end that is followed', () => {
  const { source, readings } = opened();
  readings[0]?.onData(output(50, 400));
  drawn();
  source.older();
  readings[0]?.onData(output(51, 19_000));
  drawn();
  readings[1]?.onData(output(49, 5000));
  drawn();
  readings[1]?.onComplete();
  drawn();
  assert.deepEqual(ends(source), ['50', '51']);
  assert.equal(source.model.after, 51);
});

test('an older page is dropped when the lines after it are gone', () => {
  const { source, readings } = opened();
  readings[0]?.onData(output(50, 400));
  drawn();
  source.older();
  for (const seq of [51, 52, 53]) readings[0]?.onData(output(seq, 9000));
  drawn();
  assert.equal(ends(source)[0], '51');
  source.following = false;
  readings[1]?.onData(output(49, 10));
  drawn();
  readings[1]?.onComplete();
  drawn();
  assert.deepEqual(ends(source), ['51', '53']);
  assert.equal(source.model.before, 52);
});

test('a flood between two frames leaves lines out, and says how many', () => {
  const { source, readings } = opened();
  readings[0]?.onData(output(1, 400));
  drawn();
  const events = 600;
  const data = `${'x'.repeat(999)}\n`.repeat(60);
  for (let seq = 2; seq < events; seq++) readings[0]?.onData({ data: { ...output(seq, 0).data, data } as LogEvent });
  assert.ok(source.model.after < events - 1, 'the frame is over before the flood');
  readings[0]?.onData(output(events, 1));
  drawn();
  assert.equal(ends(source)[1], `${events}`);
  assert.equal(source.model.after, events);
  const notes = source.model.lines.slice(0, source.model.lines.length).filter((line) => line.kind === 'note');
  assert.match(notes.at(-1)?.text ?? '', /^— [\d,]+ lines left out here/);
});

test('a log that ends in a flood is shown to its end', () => {
  const { source, readings } = opened();
  for (let seq = 1; seq < 100; seq++) readings[0]?.onData(output(seq, 4000));
  readings[0]?.onComplete();
  assert.equal(source.ended, true);
  assert.equal(source.model.after, 99);
});
