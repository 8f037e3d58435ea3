/** What every page uses: the connection, the caller, where the reader is, and the clock. */

import { createContext } from 'preact';
import { useContext, useEffect, useState } from 'preact/hooks';
import type { Connection } from './api.ts';
import type { Live } from './live.ts';
import type { Me } from './types.ts';

export interface AppState {
  connection: Connection;
  me: Me;
  live: Live;
  path: string;
  hash: string;
  search: string;
  go(address: string): void;
  /** Show a sentence for a moment, and let screen readers say it. */
  say(text: string, tone?: 'good' | 'bad'): void;
}

export const AppContext = createContext<AppState | null>(null);

export function useApp(): AppState {
  const state = useContext(AppContext);
  if (state === null) throw new Error('there is no app around this component');
  return state;
}

export function useApi() {
  return useApp().connection.api;
}

/** Whether the caller's role may change tasks. */
export function useMay() {
  const { role } = useApp().me;
  const tasks = role !== 'viewer';
  return { tasks, operate: role === 'operator' || role === 'admin' };
}

/** The time now, which moves once in a while so that ages do. */
export function useNow(everyMs = 1000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}
