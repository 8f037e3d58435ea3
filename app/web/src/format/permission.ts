/** What an agent wants to do with a tool, as a person reads it: commands, changes of files, plans. */

/** One line of a change: kept, removed or added. */
export type ChangeLine = readonly [' ' | '-' | '+', string];

export type Part =
  | { kind: 'change'; path: string; lines: ChangeLine[] }
  | { kind: 'code'; text: string }
  | { kind: 'text'; text: string };

/** Lines that stay the same on each side of a change. */
const AROUND = 3;
type Members = { [name: string]: unknown };

/** Return what a tool would do by its input: of claude-code's tools, of an ACP agent's, or any other's. */
export function partsOf(input: unknown): Part[] {
  if (input === undefined || input === null || input === '') return [];
  if (typeof input === 'string') return [{ kind: 'code', text: input }];
  if (Array.isArray(input)) return input.flatMap(partsOf);
  const values = input as Members;
  const known = changes(values) ?? plan(values) ?? command(values) ?? content(values);
  return known ?? [{ kind: 'code', text: JSON.stringify(values, null, 2) }];
}

/** Return the lines of a change from one text to another, with a few lines that stay around it. */
export function changeLines(before: string, after: string): ChangeLine[] {
  const old = before === '' ? [] : before.replace(/\n$/, '').split('\n');
  const now = after === '' ? [] : after.replace(/\n$/, '').split('\n');
  const most = Math.min(old.length, now.length);
  let head = 0;
  while (head < most && old[head] === now[head]) head += 1;
  let tail = 0;
  while (tail < most - head && old.at(-1 - tail) === now.at(-1 - tail)) tail += 1;
  const kept = (lines: string[]): ChangeLine[] => lines.map((line) => [' ', line]);
  return [
    ...kept(old.slice(Math.max(0, head - AROUND), head)),
    ...old.slice(head, old.length - tail).map((line): ChangeLine => ['-', line]),
    ...now.slice(head, now.length - tail).map((line): ChangeLine => ['+', line]),
    ...kept(old.slice(old.length - tail, old.length - tail + AROUND)),
  ];
}

function changes(values: Members): Part[] | null {
  const path = text(values.file_path) ?? text(values.path) ?? text(values.notebook_path);
  if (path === null) return null;
  const edits = Array.isArray(values.edits) ? (values.edits as Members[]) : [values];
  const parts = edits.map((edit): Part | null => {
    const before = text(edit.old_string) ?? text(edit.oldText) ?? text(edit.old_str);
    const after = text(edit.new_string) ?? text(edit.newText) ?? text(edit.new_str) ?? text(edit.content);
    if (after === null) return null;
    return { kind: 'change', path, lines: changeLines(before ?? '', after) };
  });
  return parts.every((part) => part !== null) ? parts : null;
}

function plan(values: Members): Part[] | null {
  const words = text(values.plan);
  return words === null ? null : [{ kind: 'text', text: words }];
}

function command(values: Members): Part[] | null {
  const line = Array.isArray(values.command) ? values.command.join(' ') : text(values.command);
  if (line === null) return null;
  const about = text(values.description);
  return [{ kind: 'code', text: line }, ...(about === null ? [] : [{ kind: 'text', text: about } as const])];
}

/** An ACP agent's content of a tool call: a block around a text, or a change of a file, which `changes` reads. */
function content(values: Members): Part[] | null {
  const inner = values.content as Members | undefined;
  const words = values.type === 'content' ? text(inner?.text) : null;
  return words === null ? null : [{ kind: 'text', text: words }];
}

function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
