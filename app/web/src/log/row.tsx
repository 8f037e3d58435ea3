/** One line of a log on the screen. */

import { Component } from 'preact';
import { clock, exact } from '../format/time.ts';
import { hashOf } from '../router.ts';
import { type Line, stretches } from './lines.ts';
import { paletteColour, type Style } from './style.ts';

export const LINE_HEIGHT = 18;

interface RowProps {
  line: Line;
  version: number;
  rows: number;
  withJob: boolean;
  withTimes: boolean;
  marked: boolean;
  find: string;
}

/** A line, which is drawn again only when something of it has changed: most lines of a frame were in the one before. */
export class Row extends Component<RowProps> {
  override shouldComponentUpdate(next: RowProps): boolean {
    return (Object.keys(next) as (keyof RowProps)[]).some((name) => next[name] !== this.props[name]);
  }

  override render(props: RowProps) {
    return <Shown {...props} />;
  }
}

function Shown({ line, rows, withJob, withTimes, marked, find }: RowProps) {
  const place = hashOf({ ...(line.job === null ? {} : { job: line.job }), seq: line.seq });
  return (
    <div
      class={`log-line log-${line.kind}${marked ? ' log-marked' : ''}`}
      style={{ minHeight: `${rows * LINE_HEIGHT}px` }}
    >
      {withTimes && (
        <a class="log-gutter" href={place} title={`event ${line.seq}, ${exact(line.at)}`} tabIndex={-1}>
          {clock(line.at)}
        </a>
      )}
      {withJob && <span class={`log-job hue-${(line.job ?? 0) % 6}`}>{line.job === null ? '' : `[${line.job}]`}</span>}
      <span class="log-text">
        {stretches(line).map((part, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a line's stretches have no other names
          <span key={index} class={classOf(part.style)} style={coloursOf(part.style)}>
            {marks(part.text, find)}
          </span>
        ))}
        {'\n'}
      </span>
    </div>
  );
}

/** Return a text with what is searched for marked. */
function marks(text: string, find: string) {
  if (find === '') return text;
  const low = text.toLowerCase();
  const wanted = find.toLowerCase();
  const parts = [];
  let at = 0;
  for (let next = low.indexOf(wanted); next !== -1; next = low.indexOf(wanted, at)) {
    parts.push(text.slice(at, next), <mark key={next}>{text.slice(next, next + wanted.length)}</mark>);
    at = next + wanted.length;
  }
  return parts.length === 0 ? text : [...parts, text.slice(at)];
}

function classOf(style: Style): string {
  const names = (['bold', 'dim', 'italic', 'underline', 'strike'] as const).filter((name) => style[name]);
  const fg = style.inverse ? (style.bg ?? 'page') : style.fg;
  const bg = style.inverse ? (style.fg ?? 'text') : style.bg;
  if (named(fg)) names.push(`fg-${fg}` as never);
  if (named(bg)) names.push(`bg-${bg}` as never);
  return names.join(' ');
}

/** Whether a colour is one of the theme's. */
function named(colour: Style['fg']): boolean {
  return typeof colour === 'number' ? colour < 16 : colour === 'page' || colour === 'text';
}

function coloursOf(style: Style): Record<string, string> | undefined {
  const fg = free(style.inverse ? style.bg : style.fg);
  const bg = free(style.inverse ? style.fg : style.bg);
  if (fg === undefined && bg === undefined) return undefined;
  return { ...(fg === undefined ? {} : { color: fg }), ...(bg === undefined ? {} : { backgroundColor: bg }) };
}

function free(colour: Style['fg']): string | undefined {
  if (typeof colour === 'string') return colour;
  return colour !== undefined && colour >= 16 ? paletteColour(colour) : undefined;
}
