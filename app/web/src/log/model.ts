/** A loaded stretch of a task's log as lines: events in at both ends, lines out.
 *
 * The lines are bounded. New events push old lines out at the front, and older pages push new lines out at the end;
 * `after` and `before` always say from which event either end can be read again.
 */

import type { OutputEvent } from '../ado.d.ts';
import { counted } from '../format/text.ts';
import { agentText } from './agent_lines.ts';
import type { Gap } from './backlog.ts';
import { Emulator, type Origin, REACH } from './emulator.ts';
import { type Line, type LineKind, Lines, newLine } from './lines.ts';
import { type LogEvent, noteOf, type Tone } from './notes.ts';
import type { Style } from './style.ts';

/** The event's data as text; bytes that are not UTF-8 are shown as the replacement character. */
function outputText(event: OutputEvent): string {
  if (event.encoding !== 'base64') return event.data;
  const bytes = Uint8Array.from(atob(event.data), (character) => character.charCodeAt(0));
  return new TextDecoder().decode(bytes);
}

const TONES: Record<Tone, Style> = {
  plain: { dim: true },
  good: { fg: 2 },
  bad: { fg: 1 },
  ask: { fg: 5 },
};

/** Makes lines of events that come in order, each job with a terminal of its own. */
export class LineMaker {
  private readonly emulators = new Map<number | null, Emulator>();

  constructor(private readonly push: (line: Line) => void) {}

  feed(event: LogEvent): void {
    if (event.type === 'output') {
      this.emulator(event.job).write(outputText(event), origin(event, event.stream === 'stderr' ? 'err' : 'out'));
    } else if (event.type === 'agent') {
      const said = agentText(event);
      if (said === null) return;
      const from = origin(event, 'agent');
      if ('words' in said) this.emulator(event.job).write(said.words, from);
      else this.whole(event.job, said.line, from);
    } else {
      const note = noteOf(event);
      if (note === null) return;
      this.endLine(event.job, origin(event, 'note'));
      this.push(newLine(origin(event, 'note'), `— ${note.text.replaceAll('\n', ' ')}`, TONES[note.tone]));
    }
  }

  /** Add a line of the page's own. */
  note(from: Origin, text: string): void {
    this.push(newLine(from, text, TONES.bad));
  }

  /** Return the open line of a job. */
  openLine(job: number | null): Line | undefined {
    return this.emulators.get(job)?.open;
  }

  /** A text was put at the beginning of a line. */
  shifted(line: Line, by: number): void {
    this.emulators.get(line.job)?.shifted(line, by);
  }

  private emulator(job: number | null): Emulator {
    let found = this.emulators.get(job);
    if (found === undefined) {
      found = new Emulator(this.push);
      this.emulators.set(job, found);
    }
    return found;
  }

  private whole(job: number | null, text: string, from: Origin): void {
    this.endLine(job, from);
    if (text !== '') this.emulator(job).write(`${text}\n`, from);
  }

  private endLine(job: number | null, from: Origin): void {
    const emulator = this.emulators.get(job);
    if (emulator?.open !== undefined) emulator.write('\n', from);
  }
}

function origin(event: LogEvent, kind: LineKind): Origin {
  return { seq: event.seq, job: event.job, at: event.at, kind };
}

export class LogModel {
  readonly lines: Lines;
  /** Grows with each change. */
  version = 0;
  private maker: LineMaker;
  private first: number | undefined;
  /** Whether some lines of the first event had to go. */
  private torn = false;
  private last: number;

  constructor(limit: number, after = 0) {
    this.lines = new Lines(limit);
    this.maker = this.newMaker();
    this.last = after;
  }

  /** The event after which reading goes on at the end. */
  get after(): number {
    return this.last;
  }

  /** The first loaded event: older pages end before it. */
  get before(): number {
    return this.first === undefined ? this.last + 1 : this.first + (this.torn ? 1 : 0);
  }

  /** Forget all lines; the next event is one after `after`. */
  reset(after: number): void {
    this.lines.clear();
    this.maker = this.newMaker();
    this.first = undefined;
    this.torn = false;
    this.last = after;
    this.version += 1;
  }

  /** Set from where older pages are read, once the beginning of what was loaded is known. */
  begin(first: number): void {
    this.first = first;
  }

  /** Add an event at the end. An event that is already there changes nothing. */
  append(event: LogEvent): void {
    if (event.seq <= this.last) return;
    this.first ??= event.seq;
    this.last = event.seq;
    this.maker.feed(event);
    this.version += 1;
  }

  /** Go on after a gap, with a line that says how much is missing and leads to its beginning. */
  skip(gap: Gap): void {
    if (gap.seq <= this.last) return;
    this.first ??= gap.first.seq;
    this.last = gap.seq;
    this.maker = this.newMaker(); // what follows does not continue the lines before
    const text = `— ${counted(gap.lines, 'line')} left out here: they came faster than they can be shown`;
    this.maker.note(origin(gap.first, 'note'), text);
    this.version += 1;
  }

  /** Add an older page, whose events are those from `from` up to the first loaded one; return how many lines it has. */
  prepend(events: LogEvent[], from: number): number {
    const older: Line[] = [];
    const maker = new LineMaker((line) => older.push(line));
    for (const event of events) maker.feed(event);
    this.dropTorn();
    this.join(maker, older);
    const cut = this.lines.unshift(older);
    this.first = from;
    const gone = cut[0];
    if (gone !== undefined) this.loseEnd(gone);
    this.version += 1;
    return older.length;
  }

  /** Drop what is left of an event that the older page has as a whole. */
  private dropTorn(): void {
    if (!this.torn) return;
    this.torn = false;
    while (this.lines.at(0)?.seq === this.first) this.lines.shift();
    // output must not go on in lines that are no longer there
    if (this.lines.length <= REACH) this.maker = this.newMaker();
  }

  /** Join the open last line of an older page with the line that continues it. */
  private join(maker: LineMaker, older: Line[]): void {
    const next = this.lines.at(0);
    const open = older.at(-1);
    if (next === undefined || open === undefined || next.kind === 'note' || open.job !== next.job) return;
    if (maker.openLine(open.job) !== open || open.kind !== next.kind) return;
    const shift = open.text.length;
    open.runs.push(...next.runs.map((run) => ({ ...run, at: run.at + shift })));
    open.text += next.text;
    // the line that the live output may still change is the one that stays
    next.text = open.text;
    next.runs = open.runs;
    next.version += 1;
    this.maker.shifted(next, shift);
    older.pop();
  }

  /** Lines at the end had to go: reading goes on after the last event that is there as a whole. */
  private loseEnd(gone: Line): void {
    this.last = Math.max(this.before - 1, gone.seq - 1);
    while ((this.lines.at(-1)?.seq ?? 0) > this.last) this.lines.pop();
    this.maker = this.newMaker();
  }

  private newMaker(): LineMaker {
    return new LineMaker((line) => {
      const dropped = this.lines.push(line);
      if (dropped === undefined) return;
      const now = this.lines.at(0);
      this.first = now?.seq ?? dropped.seq;
      this.torn = dropped.seq === this.first;
    });
  }
}
