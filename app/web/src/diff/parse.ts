/** Reads git's unified diff. What a line is follows from its place in the diff, whatever it contains. */

export interface DiffLine {
  mark: ' ' | '+' | '-' | '\\';
  text: string;
  old: number | null;
  new: number | null;
}

export interface Hunk {
  /** The function or section that git names after the line numbers. */
  section: string;
  lines: DiffLine[];
}

export interface FileDiff {
  path: string;
  /** The path before, if the file was renamed. */
  from: string | null;
  kind: 'changed' | 'added' | 'removed' | 'renamed';
  binary: boolean;
  /** The file's mode, if that changed: `100644 → 100755`. */
  mode: string | null;
  hunks: Hunk[];
  added: number;
  removed: number;
}

const HUNK = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)$/;

/** Read a diff; a diff that was cut gives the files up to there. */
export function parseDiff(text: string): FileDiff[] {
  const files: FileDiff[] = [];
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  let at = 0;
  while (at < lines.length) {
    if (lines[at]?.startsWith('diff --git ')) {
      const [file, next] = readFile(lines, at);
      files.push(file);
      at = next;
    } else at += 1;
  }
  return files;
}

function readFile(lines: string[], start: number): [FileDiff, number] {
  const file: FileDiff = {
    path: pathOfHead(lines[start] ?? ''),
    from: null,
    kind: 'changed',
    binary: false,
    mode: null,
    hunks: [],
    added: 0,
    removed: 0,
  };
  let oldMode = '';
  let at = start + 1;
  while (at < lines.length) {
    const line = lines[at] ?? '';
    const head = HUNK.exec(line);
    if (head !== null) at = readHunk(file, lines, at, head);
    else if (line.startsWith('diff --git ')) break;
    else {
      oldMode = readHead(file, line, oldMode);
      at += 1;
    }
  }
  return [file, at];
}

/** Take what a line before the hunks says; return the old mode, which comes before the new one. */
function readHead(file: FileDiff, line: string, oldMode: string): string {
  if (line.startsWith('new file')) file.kind = 'added';
  else if (line.startsWith('deleted file')) file.kind = 'removed';
  else if (line.startsWith('rename from ')) {
    file.kind = 'renamed';
    file.from = unquoted(line.slice(12));
  } else if (line.startsWith('rename to ')) file.path = unquoted(line.slice(10));
  else if (line.startsWith('old mode ')) return line.slice(9);
  else if (line.startsWith('new mode ')) file.mode = `${oldMode} → ${line.slice(9)}`;
  else if (line.startsWith('Binary files ')) file.binary = true;
  else if (line.startsWith('+++ ') || line.startsWith('--- ')) {
    const path = unquoted(line.slice(4).replace(/\t$/, ''));
    if (path !== '/dev/null') file.path = path.slice(2);
  }
  return oldMode;
}

function readHunk(file: FileDiff, lines: string[], start: number, head: RegExpExecArray): number {
  let oldLine = Number(head[1]);
  let newLine = Number(head[3]);
  let oldLeft = Number(head[2] ?? 1);
  let newLeft = Number(head[4] ?? 1);
  const hunk: Hunk = { section: head[5] ?? '', lines: [] };
  let at = start + 1;
  for (; at < lines.length; at++) {
    const line = lines[at] ?? '';
    const mark = line.charAt(0);
    const text = line.slice(1);
    if (mark === '\\') hunk.lines.push({ mark, text: text.trim(), old: null, new: null });
    else if (oldLeft <= 0 && newLeft <= 0) break;
    else if (mark === '+') {
      hunk.lines.push({ mark, text, old: null, new: newLine++ });
      newLeft -= 1;
      file.added += 1;
    } else if (mark === '-') {
      hunk.lines.push({ mark, text, old: oldLine++, new: null });
      oldLeft -= 1;
      file.removed += 1;
    } else {
      hunk.lines.push({ mark: ' ', text, old: oldLine++, new: newLine++ });
      oldLeft -= 1;
      newLeft -= 1;
    }
  }
  file.hunks.push(hunk);
  return at;
}

/** Return the path in `diff --git a/PATH b/PATH`, which is all that an empty or binary file has. */
function pathOfHead(line: string): string {
  const rest = line.slice('diff --git '.length);
  if (rest.startsWith('"')) {
    const second = / ("b\/.*"|b\/.*)$/.exec(rest)?.[1];
    return second === undefined ? rest : unquoted(second).slice(2);
  }
  // both halves are equal but for their first letter
  return rest.slice((rest.length - 1) / 2 + 3);
}

const ESCAPES: Record<string, number> = { a: 7, b: 8, t: 9, n: 10, v: 11, f: 12, r: 13, '"': 34, '\\': 92 };

/** Undo git's quotes around a name with special bytes. */
export function unquoted(name: string): string {
  if (!name.startsWith('"') || !name.endsWith('"') || name.length < 2) return name;
  const bytes: number[] = [];
  const inner = name.slice(1, -1);
  for (let at = 0; at < inner.length; at++) {
    if (inner[at] !== '\\') {
      bytes.push(...new TextEncoder().encode(inner[at]));
      continue;
    }
    const octal = /^[0-3][0-7]{2}/.exec(inner.slice(at + 1, at + 4))?.[0];
    if (octal === undefined) {
      at += 1;
      bytes.push(ESCAPES[inner[at] ?? ''] ?? 63);
    } else {
      bytes.push(Number.parseInt(octal, 8));
      at += 3;
    }
  }
  return new TextDecoder().decode(Uint8Array.from(bytes));
}

/** Two lines side by side: what was there, and what is there now. */
export interface Pair {
  left: DiffLine | null;
  right: DiffLine | null;
}

/** Return the lines of a hunk in pairs: removed lines beside the added lines that follow them. */
export function pairs(lines: DiffLine[]): Pair[] {
  const result: Pair[] = [];
  let removed: DiffLine[] = [];
  let added: DiffLine[] = [];
  const flush = () => {
    for (let at = 0; at < Math.max(removed.length, added.length); at++) {
      result.push({ left: removed[at] ?? null, right: added[at] ?? null });
    }
    removed = [];
    added = [];
  };
  for (const line of lines) {
    if (line.mark === '-') {
      if (added.length > 0) flush();
      removed.push(line);
    } else if (line.mark === '+') added.push(line);
    else if (line.mark === ' ') {
      flush();
      result.push({ left: line, right: line });
    }
  }
  flush();
  return result;
}
