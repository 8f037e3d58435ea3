/** Small parts that every page uses. */

import type { AnchorHTMLAttributes, ComponentChildren } from 'preact';
import type { Failure } from '../api.ts';
import { useApp, useNow } from '../context.tsx';
import { visible } from '../format/text.ts';
import { ago, exact } from '../format/time.ts';

const MARKS: Record<string, string> = {
  queued: '○',
  paused: '‖',
  running: '◐',
  succeeded: '✓',
  failed: '✗',
  cancelled: '⊘',
  active: '▸',
  idle: '○',
  busy: '◐',
  starting: '◌',
  suspect: '?',
  draining: '↓',
  dead: '✗',
  stopped: '■',
};

/** A state as a mark and a word, which do not depend on colour alone. */
export function Status({ of: state, bare = false }: { of: string; bare?: boolean }) {
  return (
    <span class={`status status-${state}`}>
      <span aria-hidden="true">{MARKS[state] ?? '•'}</span>
      {bare ? <span class="unseen">{state}</span> : <span>{state}</span>}
    </span>
  );
}

/** How long ago, with the exact time on hover. */
export function Ago({ time }: { time: string | undefined }) {
  const now = useNow();
  if (time === undefined) return null;
  return (
    <time dateTime={time} title={exact(time)}>
      {ago(time, now)}
    </time>
  );
}

/** A link within the dashboard. */
export function Link({ href, children, ...rest }: AnchorHTMLAttributes & { href: string }) {
  const { go } = useApp();
  return (
    <a
      href={href}
      {...rest}
      onClick={(event) => {
        if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        go(href);
      }}
    >
      {children}
    </a>
  );
}

/** Text from elsewhere: shown as it is, whatever it holds. */
export function Foreign({ text }: { text: string }) {
  return <bdi dir="auto">{visible(text)}</bdi>;
}

export function Labels({ labels }: { labels: { [name: string]: string } }) {
  const names = Object.keys(labels);
  if (names.length === 0) return null;
  return (
    <span class="labels">
      {names.map((name) => (
        <Link key={name} class="label" href={`/tasks?label=${encodeURIComponent(`${name}=${labels[name]}`)}`}>
          <Foreign text={labels[name] === '' ? name : `${name}=${labels[name]}`} />
        </Link>
      ))}
    </span>
  );
}

/** Nothing to show, and what to do. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

/** What went wrong, and the next step. */
export function Problem({ failure }: { failure: Failure | null }) {
  if (failure === null) return null;
  return (
    <div class="problem" role="alert">
      <strong>{visible(failure.message)}</strong>
      {failure.hint !== '' && <span>{visible(failure.hint)}</span>}
    </div>
  );
}

export function Loading() {
  return (
    <div class="loading" role="status">
      Loading…
    </div>
  );
}
