/** The loaded lines of a log: a bounded deque that grows at both ends. */

import { PLAIN, type Style } from './style.ts';

/** A stretch of equal style, which begins at a column and ends where the next one begins. */
export interface Run {
  at: number;
  style: Style;
}

export type LineKind = 'out' | 'err' | 'note' | 'agent';

export interface Line {
  /** Unique among the lines of a log, and never used again. */
  readonly id: number;
  /** The event that began the line. */
  readonly seq: number;
  readonly job: number | null;
  readonly at: string;
  readonly kind: LineKind;
  text: string;
  runs: Run[];
  /** Grows with each change of text or style. */
  version: number;
  /** Whether the line feed has come. */
  ended: boolean;
}

/** Styles of one line; after that the last one goes on, so that a line stays small. */
const RUN_LIMIT = 500;
let newest = 0;

/** Make an empty line, or one with a text in one style. */
export function newLine(of: Pick<Line, 'seq' | 'job' | 'at' | 'kind'>, text = '', style: Style = PLAIN): Line {
  newest += 1;
  return {
    id: newest,
    seq: of.seq,
    job: of.job,
    at: of.at,
    kind: of.kind,
    text,
    runs: text === '' ? [] : [{ at: 0, style }],
    version: 0,
    ended: text !== '',
  };
}

/** Write a text into a line at a column, over what is there. */
export function writeInto(line: Line, column: number, text: string, style: Style): void {
  if (column === line.text.length) {
    appendTo(line, text, style);
    return;
  }
  if (column > line.text.length) line.text = line.text.padEnd(column);
  const end = column + text.length;
  const after = styleAt(line, end);
  const hasRest = end < line.text.length;
  line.text = line.text.slice(0, column) + text + line.text.slice(end);
  const kept = line.runs.filter((run) => run.at < column);
  if (column > 0 && kept.length === 0) kept.push({ at: 0, style: PLAIN });
  if (kept.at(-1)?.style !== style && kept.length < RUN_LIMIT) kept.push({ at: column, style });
  if (hasRest) {
    const rest = line.runs.filter((run) => run.at > end);
    if (kept.at(-1)?.style !== after) kept.push({ at: end, style: after });
    kept.push(...rest);
  }
  line.runs = kept;
  line.version += 1;
}

function appendTo(line: Line, text: string, style: Style): void {
  const last = line.runs.at(-1)?.style;
  if (last !== style && line.runs.length < RUN_LIMIT) line.runs.push({ at: line.text.length, style });
  line.text += text;
  line.version += 1;
}

/** Cut a line at a column. */
export function cutAt(line: Line, column: number): void {
  if (column >= line.text.length) return;
  line.text = line.text.slice(0, column);
  line.runs = line.runs.filter((run) => run.at < column);
  line.version += 1;
}

function styleAt(line: Line, column: number): Style {
  let style = PLAIN;
  for (const run of line.runs) {
    if (run.at > column) break;
    style = run.style;
  }
  return style;
}

/** Return a line's stretches as text and style. */
export function stretches(line: Line): { text: string; style: Style }[] {
  const parts = line.runs.map((run, index) => ({
    text: line.text.slice(run.at, line.runs[index + 1]?.at),
    style: run.style,
  }));
  return parts.filter((part) => part.text !== '');
}

/** Lines in the order of the log, at most `limit`; an end that is not grown is the one that loses lines. */
export class Lines {
  private items: Line[] = [];
  private head = 0;

  constructor(readonly limit: number) {}

  get length(): number {
    return this.items.length - this.head;
  }

  at(index: number): Line | undefined {
    return this.items[index < 0 ? this.items.length + index : this.head + index];
  }

  slice(from: number, to: number): Line[] {
    return this.items.slice(this.head + Math.max(0, from), this.head + Math.max(0, to));
  }

  /** Add a line at the end; return the line that had to go at the front. */
  push(line: Line): Line | undefined {
    this.items.push(line);
    if (this.length <= this.limit) return undefined;
    const dropped = this.items[this.head];
    this.head += 1;
    if (this.head > this.limit) {
      this.items = this.items.slice(this.head);
      this.head = 0;
    }
    return dropped;
  }

  /** Add lines at the front; return those that had to go at the end. */
  unshift(lines: Line[]): Line[] {
    this.items = [...lines, ...this.items.slice(this.head)];
    this.head = 0;
    return this.items.splice(this.limit);
  }

  /** Remove the first line. */
  shift(): void {
    if (this.length > 0) this.head += 1;
  }

  /** Remove the last line. */
  pop(): void {
    if (this.length > 0) this.items.pop();
  }

  clear(): void {
    this.items = [];
    this.head = 0;
  }

  /** Return the index of the first line of an event or of a later one. */
  indexOf(seq: number): number {
    for (let index = 0; index < this.length; index++) {
      const line = this.at(index);
      if (line !== undefined && line.seq >= seq) return index;
    }
    return this.length;
  }
}
