/** Loads what a page shows, and loads it again when it may have changed. */

import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import type { TaskState } from './ado.d.ts';
import { type Failure, failureOf } from './api.ts';
import { useApp } from './context.tsx';

export interface Loaded<T> {
  data: T | undefined;
  failure: Failure | null;
  loading: boolean;
  reload(): void;
}

const RETRY_MS = 2000;
/** Changes that are closer together are loaded together. */
const TOGETHER_MS = 300;

/** Load by `load`, again whenever a member of `keys` changes, and again after a call that failed on the way. */
export function useLoad<T>(load: () => Promise<T>, keys: unknown[]): Loaded<T> {
  const [state, setState] = useState<{ data?: T; failure: Failure | null; loading: boolean }>({
    failure: null,
    loading: true,
  });
  const [turn, setTurn] = useState(0);
  const current = useRef(0);
  const waiting = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const key = JSON.stringify(keys);
  const lastKey = useRef(key);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the keys say what `load` depends on
  useEffect(() => {
    current.current += 1;
    const mine = current.current;
    let retry: ReturnType<typeof setTimeout> | undefined;
    const changed = lastKey.current !== key;
    lastKey.current = key;
    if (changed) setState({ failure: null, loading: true });
    load().then(
      (data) => {
        if (mine === current.current) setState({ data, failure: null, loading: false });
      },
      (error: unknown) => {
        if (mine !== current.current) return;
        const failure = failureOf(error);
        setState((before) => ({ ...before, failure, loading: false }));
        if (failure.reason === 'unreachable') retry = setTimeout(() => setTurn((value) => value + 1), RETRY_MS);
      },
    );
    return () => clearTimeout(retry);
  }, [key, turn]);

  useEffect(() => () => clearTimeout(waiting.current), []);
  const reload = useCallback(() => {
    if (waiting.current !== undefined) return;
    waiting.current = setTimeout(() => {
      waiting.current = undefined;
      setTurn((value) => value + 1);
    }, TOGETHER_MS);
  }, []);
  return { data: state.data, failure: state.failure, loading: state.loading, reload };
}

/** Call a function at each change of the system, with the task that changed or null. */
export function useChanges(listener: (task: TaskState | null) => void): void {
  const { live } = useApp();
  const newest = useRef(listener);
  newest.current = listener;
  useEffect(() => live.on((task) => newest.current(task)), [live]);
}
