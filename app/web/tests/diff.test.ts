import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changesOf } from '../src/diff/load.ts';
import { pairs, parseDiff, unquoted } from '../src/diff/parse.ts';

const CHANGE = `diff --git a/src/a file.txt b/src/a file.txt
index 1..2 100644
--- a/src/a file.txt\t
+++ b/src/a file.txt\t
@@ -1,4 +1,4 @@ def section():
 one
-two
-three
+2
+++ three
 four
\\ No newline at end of file
`;

test('a change has its lines with their numbers', () => {
  const [file] = parseDiff(CHANGE);
  assert.equal(file?.path, 'src/a file.txt');
  assert.deepEqual([file?.added, file?.removed], [2, 2]);
  assert.equal(file?.hunks[0]?.section, 'def section():');
  assert.deepEqual(
    file?.hunks[0]?.lines.map((line) => [line.mark, line.old, line.new]),
    [
      [' ', 1, 1],
      ['-', 2, null],
      ['-', 3, null],
      ['+', null, 2],
      ['+', null, 3],
      [' ', 4, 4],
      ['\\', null, null],
    ],
  );
});

test('a line of a file that looks like the head of a diff is a line', () => {
  const text = `diff --git a/x b/x
--- a/x
+++ b/x
@@ -0,0 +1,4 @@
+diff --git a/evil b/evil
+--- a/evil
++++ b/evil
+@@ -1 +1 @@
`;
  const files = parseDiff(text);
  assert.equal(files.length, 1);
  assert.equal(files[0]?.added, 4);
});

test('added, removed, renamed, binary and empty files are told apart', () => {
  const text = `diff --git a/new b/new
new file mode 100644
index 0..1
--- /dev/null
+++ b/new
@@ -0,0 +1 @@
+x
diff --git a/gone b/gone
deleted file mode 100644
--- a/gone
+++ /dev/null
@@ -1 +0,0 @@
-x
diff --git a/one b/two
similarity index 100%
rename from one
rename to two
diff --git a/picture.png b/picture.png
index 1..2
Binary files a/picture.png and b/picture.png differ
diff --git a/empty file b/empty file
new file mode 100644
index 0..0
diff --git a/run b/run
old mode 100644
new mode 100755
`;
  assert.deepEqual(
    parseDiff(text).map((file) => [file.kind, file.from, file.path, file.binary, file.mode]),
    [
      ['added', null, 'new', false, null],
      ['removed', null, 'gone', false, null],
      ['renamed', 'one', 'two', false, null],
      ['changed', null, 'picture.png', true, null],
      ['added', null, 'empty file', false, null],
      ['changed', null, 'run', false, '100644 → 100755'],
    ],
  );
});

test('quoted names are read as their bytes', () => {
  assert.equal(unquoted('"a/\\303\\244\\t\\"x\\\\"'), 'a/ä\t"x\\');
  assert.equal(unquoted('plain'), 'plain');
  const [file] = parseDiff('diff --git "a/\\303\\244" "b/\\303\\244"\nnew file mode 100644\n');
  assert.equal(file?.path, 'ä');
});

test('a diff that was cut gives what there is', () => {
  for (let end = 0; end < CHANGE.length; end++) parseDiff(CHANGE.slice(0, end));
  assert.equal(parseDiff(CHANGE.slice(0, -40))[0]?.removed, 2);
});

test('side by side, a removed line is beside the added one', () => {
  const lines = parseDiff(CHANGE)[0]?.hunks[0]?.lines ?? [];
  assert.deepEqual(
    pairs(lines).map((pair) => [pair.left?.text, pair.right?.text]),
    [
      ['one', 'one'],
      ['two', '2'],
      ['three', '++ three'],
      ['four', 'four'],
    ],
  );
});

test('the figures of a result are counts, whatever its description says', () => {
  assert.deepEqual(changesOf({ files: 2, added: 10, removed: 3 }), { files: 2, added: 10, removed: 3 });
  for (const about of [null, undefined, 'x', [], { files: '2', added: -1, removed: 1.5 }, { files: 1e300 }]) {
    assert.deepEqual(changesOf(about), { files: 0, added: 0, removed: 0 });
  }
});
