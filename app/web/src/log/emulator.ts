/** Turns the output of one stream into lines, as a terminal would.
 *
 * Carried out: colours, carriage return, backspace, tab, line feed, and moving or erasing within the last lines, which
 * is what progress bars do. Everything else that a sequence may ask for (titles, the clipboard, links, other screens,
 * answers to the program) has no effect, and its bytes are not shown. A sequence may be torn between two chunks.
 *
 * It is not xterm.js: that creates style elements, which the page's policy forbids, and cannot put older lines before
 * newer ones.
 */

import { visible } from '../format/text.ts';
import { cutAt, type Line, newLine, writeInto } from './lines.ts';
import { PLAIN, type Style, styleAfter } from './style.ts';

/** Lines above the last one that a program may still change. */
export const REACH = 100;
/** Columns after which a line is broken, so that a line without an end stays bounded. */
export const LINE_LIMIT = 4096;
const TAB = 8;
/** A sequence that is longer than this is none. */
const SEQUENCE_LIMIT = 4096;

// One sequence: CSI, a string (OSC, DCS, SOS, PM, APC) up to its terminator, or a short escape.
const SEQUENCE =
  /\x1b\[([0-?]{0,256})([ -/]{0,16})([@-~])|\x1b[\]PX^_][^\x07\x1b\x9c]{0,4096}(?:\x07|\x1b\\|\x9c)|\x1b[ -/]{0,16}[0-Z\\`-~]/y;
const MAYBE_TORN = /\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\x9c]*\x1b?|[ -/]*)$/y;
const SPECIAL = /[\x00-\x1f\x7f-\x9f]/g;

/** What an emulator needs to know of the event whose data it reads. */
export type Origin = Pick<Line, 'seq' | 'job' | 'at' | 'kind'>;

export class Emulator {
  private recent: Line[] = [];
  private row = -1;
  private column = 0;
  private style: Style = PLAIN;
  private torn = '';

  /** `push` takes each line when it begins; a line changes until others have pushed it out of reach. */
  constructor(private readonly push: (line: Line) => void) {}

  /** Return the last line, if its line feed has not come. */
  get open(): Line | undefined {
    const line = this.recent.at(-1);
    return line !== undefined && !line.ended ? line : undefined;
  }

  /** A text was put at the beginning of a line. */
  shifted(line: Line, by: number): void {
    if (this.recent[this.row] === line) this.column += by;
  }

  write(chunk: string, origin: Origin): void {
    const text = this.torn + chunk;
    this.torn = '';
    let at = 0;
    while (at < text.length) {
      SPECIAL.lastIndex = at;
      const end = SPECIAL.exec(text)?.index ?? text.length;
      if (end > at) this.print(text.slice(at, end), origin);
      if (end === text.length) return;
      const used = this.control(text, end, origin);
      if (used === 0) {
        this.torn = text.slice(end);
        return;
      }
      at = end + used;
    }
  }

  /** Carry out the control at an index; return how long it is, or 0 if its end has not come. */
  private control(text: string, at: number, origin: Origin): number {
    const code = text.charCodeAt(at);
    if (code === 0x1b) return this.escape(text, at, origin);
    if (code === 0x0a) this.feed(origin);
    else if (code === 0x0d) this.column = 0;
    else if (code === 0x08) this.column = Math.max(0, this.column - 1);
    else if (code === 0x09) this.print(' '.repeat(TAB - (this.column % TAB)), origin);
    else if (code < 0x20 && code !== 0x07) this.print(String.fromCharCode(0x2400 + code), origin);
    return 1;
  }

  private escape(text: string, at: number, origin: Origin): number {
    SEQUENCE.lastIndex = at;
    const found = SEQUENCE.exec(text);
    if (found === null) {
      MAYBE_TORN.lastIndex = at;
      if (text.length - at < SEQUENCE_LIMIT && MAYBE_TORN.test(text)) return 0;
      this.print('\u241b', origin);
      return 1;
    }
    const [whole, parameters, between, final] = found;
    if (final !== undefined && parameters !== undefined && between === '') this.csi(parameters, final);
    return whole.length;
  }

  private csi(parameters: string, final: string): void {
    if (/[<=>?]/.test(parameters)) return;
    if (final === 'm') {
      this.style = styleAfter(this.style, parameters);
      return;
    }
    const first = Number(parameters.split(';')[0]) || 0;
    const count = Math.max(1, first);
    if (final === 'A' || final === 'F') this.moveTo(this.row - count);
    else if (final === 'B' || final === 'E') this.moveTo(this.row + count);
    else if (final === 'C') this.column = Math.min(LINE_LIMIT - 1, this.column + count);
    else if (final === 'D') this.column = Math.max(0, this.column - count);
    else if (final === 'G') this.column = Math.min(LINE_LIMIT - 1, count - 1);
    else if (final === 'K') this.erase(first);
    else if (final === 'J' && first === 0) this.eraseBelow();
    if (final === 'E' || final === 'F') this.column = 0;
  }

  private moveTo(row: number): void {
    if (this.recent.length > 0) this.row = Math.max(0, Math.min(this.recent.length - 1, row));
  }

  private erase(how: number): void {
    const line = this.recent[this.row];
    if (line === undefined) return;
    if (how === 0) cutAt(line, this.column);
    else if (how === 2) cutAt(line, 0);
    else if (how === 1) writeInto(line, 0, ' '.repeat(Math.min(this.column + 1, line.text.length)), PLAIN);
  }

  private eraseBelow(): void {
    const line = this.recent[this.row];
    if (line !== undefined) cutAt(line, this.column);
    for (const below of this.recent.slice(this.row + 1)) cutAt(below, 0);
  }

  private print(text: string, origin: Origin): void {
    let rest = visible(text);
    while (rest !== '') {
      if (this.column >= LINE_LIMIT) this.feed(origin);
      const part = rest.slice(0, LINE_LIMIT - this.column);
      writeInto(this.current(origin), this.column, part, this.style);
      this.column += part.length;
      rest = rest.slice(part.length);
    }
  }

  private feed(origin: Origin): void {
    this.current(origin).ended = true;
    this.row += 1;
    this.column = 0;
  }

  /** Return the line under the cursor; it begins here if there was none. */
  private current(origin: Origin): Line {
    let line = this.recent[this.row];
    if (line === undefined) {
      line = newLine(origin);
      this.push(line);
      this.recent.push(line);
      if (this.recent.length > 2 * REACH) this.recent.splice(0, this.recent.length - REACH);
      this.row = this.recent.length - 1;
    }
    return line;
  }
}
