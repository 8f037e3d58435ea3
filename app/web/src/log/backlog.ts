/** Events that came faster than the page can show them: bounded, so that a flood leaves lines out and freezes nothing.
 *
 * A frame turns events into lines for a limited time; what is left waits here for the next frame. When too much waits,
 * the older half of the waiting output is left out, and the log says how many lines that were.
 */

import type { LogEvent } from './notes.ts';

/** Milliseconds of a frame for lines; the rest of its 16 is for drawing them. */
export const FRAME_MS = 6;
/** Characters that may wait: far more lines than anybody sees go by in a frame. */
const WAITING_CHARACTERS = 1024 * 1024;

/** Lines that are left out, in place of their events. */
export interface Gap {
  lines: number;
  /** The first event of the gap. */
  first: LogEvent;
  /** The last event of the gap. */
  seq: number;
}

export class Backlog {
  private items: (LogEvent | Gap)[] = [];
  private size = 0;

  get isEmpty(): boolean {
    return this.items.length === 0;
  }

  add(event: LogEvent): void {
    this.items.push(event);
    this.size += sizeOf(event);
    if (this.size > WAITING_CHARACTERS) this.leaveOut();
  }

  /** Return what is to be shown next, in the order of the log. */
  next(): LogEvent | Gap | undefined {
    const item = this.items.shift();
    if (item !== undefined && !isGap(item)) this.size -= sizeOf(item);
    return item;
  }

  clear(): void {
    this.items = [];
    this.size = 0;
  }

  /** Leave out waiting output from the front until half of what may wait is left; everything else stays. */
  private leaveOut(): void {
    const kept: (LogEvent | Gap)[] = [];
    for (const item of this.items) {
      const last = kept.at(-1);
      if (this.size <= WAITING_CHARACTERS / 2 || !(isGap(item) || item.type === 'output')) {
        kept.push(item);
        continue;
      }
      const gap = isGap(item) ? item : { lines: linesOf(item), first: item, seq: item.seq };
      if (!isGap(item)) this.size -= sizeOf(item);
      if (last !== undefined && isGap(last)) kept[kept.length - 1] = joined(last, gap);
      else kept.push(gap);
    }
    this.items = kept;
  }
}

export function isGap(item: LogEvent | Gap): item is Gap {
  return 'lines' in item;
}

function joined(before: Gap, after: Gap): Gap {
  return { lines: before.lines + after.lines, first: before.first, seq: after.seq };
}

function sizeOf(event: LogEvent): number {
  return event.type === 'output' ? event.data.length : 200;
}

/** Return the line feeds of an output event. */
function linesOf(event: LogEvent): number {
  if (event.type !== 'output') return 0;
  const text = event.encoding === 'base64' ? atob(event.data) : event.data;
  let count = 0;
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) count += 1;
  return count;
}
