import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Emulator, LINE_LIMIT, type Origin } from '../src/log/emulator.ts';
import { type Line, stretches } from '../src/log/lines.ts';

const ORIGIN: Origin = { seq: 1, job: 0, at: '2026-01-01T00:00:00Z', kind: 'out' };

function written(...chunks: string[]): Line[] {
  const lines: Line[] = [];
  const emulator = new Emulator((line) => lines.push(line));
  for (const chunk of chunks) emulator.write(chunk, ORIGIN);
  return lines;
}

function texts(...chunks: string[]): string[] {
  return written(...chunks).map((line) => line.text);
}

test('a chunk becomes lines, and the next chunk continues the last one', () => {
  assert.deepEqual(texts('one\ntw', 'o\n\nthree'), ['one', 'two', '', 'three']);
});

test('a carriage return lets progress overwrite its line', () => {
  assert.deepEqual(texts('10%\r50%\r100%\n'), ['100%']);
  assert.deepEqual(texts('downloading\rdone\x1b[K\n'), ['done']);
  assert.deepEqual(texts('a long line\rshort'), ['shortg line']);
  assert.deepEqual(texts('windows\r\nlines\r\n'), ['windows', 'lines']);
});

test('several lines of progress are rewritten in place', () => {
  assert.deepEqual(texts('a 1%\nb 1%\n', '\x1b[2A\x1b[2Ka 9%\n\x1b[2Kb 9%\n', 'end'), ['a 9%', 'b 9%', 'end']);
});

test('backspace and tab move as in a terminal', () => {
  assert.deepEqual(texts('abc\b\bX'), ['aXc']);
  assert.deepEqual(texts('a\tb'), ['a       b']);
});

test('colours are kept for their stretch', () => {
  const [line] = written('plain \x1b[1;31mred\x1b[0m end');
  assert.deepEqual(stretches(line as Line), [
    { text: 'plain ', style: {} },
    { text: 'red', style: { bold: true, fg: 1 } },
    { text: ' end', style: {} },
  ]);
});

test('a sequence that is torn between chunks is read as a whole', () => {
  const text = 'a\x1b[38;2;1;2;3mb\x1b]0;title\x07c';
  for (let at = 1; at < text.length; at++) {
    const [line] = written(text.slice(0, at), text.slice(at));
    assert.equal(line?.text, 'abc');
    assert.equal(stretches(line as Line)[1]?.style.fg, '#010203');
  }
});

test('titles, the clipboard, links and other screens have no effect and leave no text', () => {
  const harmful = [
    '\x1b]0;title\x07',
    '\x1b]2;title\x1b\\',
    '\x1b]52;c;ZXZpbA==\x07',
    '\x1b]8;;javascript:alert(1)\x07',
    '\x1b]8;;\x07',
    '\x1b[?1049h',
    '\x1b[2J',
    '\x1b[6n',
    '\x1b[c',
    '\x1bP+q544e\x1b\\',
    '\x1b_payload\x1b\\',
    '\x1bc',
    '\x1b(0',
    '\x1b[!p',
  ];
  for (const sequence of harmful) assert.deepEqual(texts(`before${sequence}after`), ['beforeafter'], sequence);
});

test('a sequence without an end does not swallow the log', () => {
  const lines = texts(`\x1b]0;${'x'.repeat(10_000)}`);
  assert.ok((lines[0] ?? '').startsWith('\u241b'));
  assert.equal(lines.join('').length, 10_004);
});

test('characters that hide or turn text are shown as escapes, and controls as their pictures', () => {
  assert.deepEqual(texts('a\u200bb\u202ec'), ['a\\u200bb\\u202ec']);
  assert.deepEqual(texts('nul\x00 bell\x07'), ['nul\u2400 bell']);
});

test('a line without an end is broken, so that it stays bounded', () => {
  const lines = texts('x'.repeat(LINE_LIMIT * 2 + 1));
  assert.deepEqual(
    lines.map((line) => line.length),
    [LINE_LIMIT, LINE_LIMIT, 1],
  );
});

test('a line has a bounded number of styles', () => {
  const [line] = written(Array.from({ length: 2000 }, (_, index) => `\x1b[${30 + (index % 8)}mx`).join(''));
  assert.equal(line?.text.length, 2000);
  assert.ok((line?.runs.length ?? 0) <= 502);
});

test('any characters make lines, in chunks of any size', () => {
  let seed = 7;
  const random = (below: number) => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    return seed % below;
  };
  const parts = ['\x1b', '[', '5', ';', 'A', 'm', 'K', 'J', '\n', '\r', '\b', '\t', ']', '\x07', 'ü', '\x9b', 'G'];
  for (let round = 0; round < 300; round++) {
    const chunks = Array.from({ length: 20 }, () =>
      Array.from({ length: random(8) }, () => parts[random(parts.length)]).join(''),
    );
    for (const line of written(...chunks)) {
      assert.ok(line.text.length <= LINE_LIMIT);
      assert.ok(!/[\x00-\x1f]/.test(line.text));
      const parts = stretches(line).map((part) => part.text);
      assert.equal(parts.join(''), line.text);
    }
  }
});
