/** The log on the screen: only the lines in sight are in the document. */

import { useCallback, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Line, Lines } from './lines.ts';
import { LINE_HEIGHT, Row } from './row.tsx';
import type { LogSource } from './source.ts';

const AROUND = 30;
const NEAR = 400;

interface Props {
  source: LogSource;
  withJob: boolean;
  withTimes: boolean;
  /** The event that a link names. */
  marked: number | undefined;
  find: string;
  onFollow(following: boolean): void;
}

/** The rows in which a line is shown. */
function rowsOf(line: Line, columns: number): number {
  return Math.max(1, Math.ceil(line.text.length / columns));
}

export function LogView({ source, withJob, withTimes, marked, find, onFollow }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const probe = useRef<HTMLSpanElement>(null);
  const [columns, setColumns] = useState(120);
  const [sight, setSight] = useState({ top: 0, height: 600 });
  const anchor = useRef<Anchor | null>(null);
  const shownMark = useRef<number | undefined>(undefined);
  /** Where this view itself has scrolled to: only a person scrolls away from there. */
  const placed = useRef(0);
  const lines = source.model.lines;
  /** The lines that are drawn: the model may change before the next frame, and a view of two states would jump. */
  const drawn = source.model.version;

  useLayoutEffect(() => {
    const element = box.current;
    const measured = probe.current;
    if (element === null || measured === null) return;
    const measure = () => {
      const width = measured.getBoundingClientRect().width / 100;
      const gutter = element.querySelector('.log-gutter')?.getBoundingClientRect().width ?? 0;
      if (width > 0) setColumns(Math.max(20, Math.floor((element.clientWidth - gutter - 24) / width)));
      setSight({ top: element.scrollTop, height: element.clientHeight });
    };
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    measure();
    return () => observer.disconnect();
  }, []);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the model's version stands for the lines, which are mutable
  const tops = useMemo(() => {
    const result = new Float64Array(lines.length + 1);
    for (let index = 0; index < lines.length; index++) {
      result[index + 1] = (result[index] ?? 0) + rowsOf(lines.at(index) as Line, columns) * LINE_HEIGHT;
    }
    return result;
  }, [drawn, columns, source]);
  const whole = tops[lines.length] ?? 0;

  // biome-ignore lint/correctness/useExhaustiveDependencies: after each change of the lines the place is kept
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return;
    const target = marked === undefined || shownMark.current === marked ? -1 : indexOfMark(source, marked, find);
    if (target >= 0 && target < lines.length) {
      shownMark.current = marked;
      element.scrollTop = Math.max(0, (tops[target] ?? 0) - element.clientHeight / 3);
      anchor.current = anchorOf(lines, target, -element.clientHeight / 3);
    } else if (target >= 0) {
      anchor.current = null; // the event of the link is still to come
    } else if (source.following) {
      element.scrollTop = element.scrollHeight;
    } else if (anchor.current !== null) {
      const index = indexOfAnchor(lines, anchor.current);
      // a line that is gone was after the last one that is there
      element.scrollTop = index < 0 ? element.scrollHeight : (tops[index] ?? 0) + anchor.current.offset;
    }
    placed.current = element.scrollTop;
    setSight({ top: element.scrollTop, height: element.clientHeight });
  }, [drawn, columns, marked, source]);

  const from = Math.max(0, indexAt(tops, sight.top) - AROUND);
  const to = Math.min(lines.length, indexAt(tops, sight.top + sight.height) + AROUND);

  const scrolled = useCallback(() => {
    const element = box.current;
    if (element === null) return;
    const top = element.scrollTop;
    if (marked !== undefined && shownMark.current !== marked) {
      setSight({ top, height: element.clientHeight }); // nobody has scrolled: other lines are being loaded
      return;
    }
    const rest = element.scrollHeight - top - element.clientHeight;
    const index = indexAt(tops, top);
    const line = lines.at(index);
    // lines that came since the last frame have moved others: what this view itself has placed keeps its anchor
    if (source.model.version === drawn || Math.abs(top - placed.current) > 1)
      anchor.current = line === undefined ? null : anchorOf(lines, index, top - (tops[index] ?? 0));
    const left = top < placed.current - 1;
    const following = !source.paused && (rest < LINE_HEIGHT || (source.following && !left));
    placed.current = top;
    if (following !== source.following) {
      source.following = following;
      onFollow(following);
    }
    if (top < NEAR) source.older();
    if (rest < NEAR) source.newer();
    setSight({ top, height: element.clientHeight });
  }, [tops, drawn, lines, source, marked, onFollow]);

  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
    <section class="log" ref={box} onScroll={scrolled} tabIndex={0} aria-label="Output">
      <span class="log-probe" ref={probe} aria-hidden="true">
        {'0'.repeat(100)}
      </span>
      <div class="log-space" style={{ height: `${tops[from] ?? 0}px` }} />
      {lines.slice(from, to).map((line) => (
        <Row
          key={line.id}
          line={line}
          version={line.version}
          rows={rowsOf(line, columns)}
          withJob={withJob}
          withTimes={withTimes}
          marked={line.seq === marked}
          find={find}
        />
      ))}
      <div class="log-space" style={{ height: `${whole - (tops[to] ?? whole)}px` }} />
    </section>
  );
}

/** Return the index of the line at a height. */
function indexAt(tops: Float64Array, top: number): number {
  let low = 0;
  let high = tops.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((tops[middle] ?? 0) <= top) low = middle;
    else high = middle - 1;
  }
  return Math.min(low, Math.max(0, tops.length - 2));
}

/** Return the first line of an event that has what is searched for, or else its first line; a large index if the event
 * is not loaded. */
function indexOfMark(source: LogSource, marked: number, find: string): number {
  const { lines, before, after } = source.model;
  const first = lines.indexOf(marked);
  // an event that lost its first lines is before the first whole one, and still there
  if (lines.at(first)?.seq !== marked && (marked < before || marked > after)) return lines.length;
  const wanted = find.toLowerCase();
  for (let index = first; lines.at(index)?.seq === marked; index++) {
    if (lines.at(index)?.text.toLowerCase().includes(wanted)) return index;
  }
  return first;
}

/** The line at the top of the view, which stays there when others come and go. */
interface Anchor {
  id: number;
  seq: number;
  /** Lines of the same event after it: a page may bring the event again, with lines before these. */
  rest: number;
  offset: number;
}

function anchorOf(lines: Lines, index: number, offset: number): Anchor {
  const line = lines.at(index) as Line;
  let end = index;
  while (lines.at(end + 1)?.seq === line.seq) end += 1;
  return { id: line.id, seq: line.seq, rest: end - index, offset };
}

function indexOfAnchor(lines: Lines, anchor: Anchor): number {
  let last = -1;
  for (let index = 0; index < lines.length; index++) {
    const line = lines.at(index);
    if (line?.id === anchor.id) return index;
    if (line?.seq === anchor.seq) last = index;
  }
  return last < 0 ? -1 : Math.max(0, last - anchor.rest);
}
