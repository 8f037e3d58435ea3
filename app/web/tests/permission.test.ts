/** What a tool would do, from the inputs that agents ask with. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changeLines, partsOf } from '../src/format/permission.ts';

test('a change shows what goes and what comes, with a few lines around it', () => {
  const before = 'a\nb\nc\nd\nold\ne\nf\ng\nh\n';
  assert.deepEqual(changeLines(before, before.replace('old', 'new\nnewer')), [
    [' ', 'b'],
    [' ', 'c'],
    [' ', 'd'],
    ['-', 'old'],
    ['+', 'new'],
    ['+', 'newer'],
    [' ', 'e'],
    [' ', 'f'],
    [' ', 'g'],
  ]);
  assert.deepEqual(changeLines('', 'x\n'), [['+', 'x']]);
  assert.deepEqual(changeLines('x\nx', 'x'), [
    [' ', 'x'],
    ['-', 'x'],
  ]);
});

test('the inputs of known tools are read, and any other is shown whole', () => {
  const edit = { file_path: 'a.py', old_string: 'x', new_string: 'y', replace_all: false };
  const lines = [
    ['-', 'x'],
    ['+', 'y'],
  ];
  assert.deepEqual(partsOf(edit), [{ kind: 'change', path: 'a.py', lines }]);
  const acp = [
    { type: 'diff', path: 'a.py', oldText: 'x', newText: 'y' },
    { type: 'content', content: { type: 'text', text: 'why' } },
  ];
  assert.deepEqual(partsOf(acp), [
    { kind: 'change', path: 'a.py', lines },
    { kind: 'text', text: 'why' },
  ]);
  assert.deepEqual(partsOf({ file_path: 'a.py', content: 'x\n' }), [
    { kind: 'change', path: 'a.py', lines: [['+', 'x']] },
  ]);
  assert.deepEqual(partsOf({ plan: '# first' }), [{ kind: 'text', text: '# first' }]);
  assert.deepEqual(partsOf({ command: 'ls -l', description: 'List' }), [
    { kind: 'code', text: 'ls -l' },
    { kind: 'text', text: 'List' },
  ]);
  assert.deepEqual(partsOf({ url: 'x' }), [{ kind: 'code', text: '{\n  "url": "x"\n}' }]);
  assert.deepEqual(partsOf('{"command": "cut'), [{ kind: 'code', text: '{"command": "cut' }]);
  assert.deepEqual(partsOf(undefined), []);
});
