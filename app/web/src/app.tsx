/** The frame around every page: navigation, the connection's banner, notices and keys. */

import { useCallback, useEffect, useMemo, useState } from 'preact/hooks';
import type { Connection, Failure, Link as LinkState } from './api.ts';
import { AppContext, type AppState } from './context.tsx';
import { Live } from './live.ts';
import { Page } from './pages/page.tsx';
import { Link } from './parts/basics.tsx';
import { Keys } from './parts/keys.tsx';
import { routeOf } from './router.ts';
import type { Me } from './types.ts';

const NOTICE_MS = 5000;
const PAGES: [string, string, string][] = [
  ['/inbox', 'Inbox', 'g i'],
  ['/tasks', 'Tasks', 'g t'],
  ['/schedules', 'Schedules', 'g s'],
  ['/workers', 'Workers', 'g w'],
  ['/health', 'Health', 'g h'],
];

interface Props {
  connection: Connection;
  me: Me;
  signOut(failure: Failure | null): void;
}

export function App({ connection, me, signOut }: Props) {
  const [address, setAddress] = useState({ path: location.pathname, hash: location.hash, search: location.search });
  const [notice, setNotice] = useState<{ text: string; tone: string } | null>(null);
  const [link, setLink] = useState<LinkState>('connecting');
  // biome-ignore lint/correctness/useExhaustiveDependencies: one subscription for each connection
  const live = useMemo(() => new Live(connection.api, signOut), [connection]);

  useEffect(() => {
    live.start();
    return () => live.stop();
  }, [live]);
  useEffect(() => connection.onLink(setLink), [connection]);
  useEffect(() => {
    const moved = () => setAddress({ path: location.pathname, hash: location.hash, search: location.search });
    addEventListener('popstate', moved);
    addEventListener('hashchange', moved);
    return () => {
      removeEventListener('popstate', moved);
      removeEventListener('hashchange', moved);
    };
  }, []);
  useEffect(() => {
    if (notice === null) return;
    const timer = setTimeout(() => setNotice(null), NOTICE_MS);
    return () => clearTimeout(timer);
  }, [notice]);

  const go = useCallback((to: string) => {
    const before = location.pathname;
    history.pushState(null, '', to);
    setAddress({ path: location.pathname, hash: location.hash, search: location.search });
    if (location.pathname !== before) {
      scrollTo(0, 0);
      document.querySelector<HTMLElement>('main')?.focus({ preventScroll: true });
    }
  }, []);
  const say = useCallback((text: string, tone: 'good' | 'bad' = 'good') => setNotice({ text, tone }), []);
  const state: AppState = useMemo(
    () => ({ connection, me, live, path: address.path, hash: address.hash, search: address.search, go, say }),
    [connection, me, live, address, go, say],
  );
  const here = routeOf(address.path);

  return (
    <AppContext.Provider value={state}>
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <header class="bar">
        <Link href="/inbox" class="home" title="ado">
          <span class="brand" aria-hidden="true" />
          <span>ado</span>
        </Link>
        <nav aria-label="Pages">
          {PAGES.filter(([path]) => path !== '/schedules' || me.role !== 'viewer').map(([path, name, keys]) => {
            const current = here.page === path.slice(1) || (path === '/tasks' && here.page === 'task');
            return (
              <Link key={path} href={path} title={`${name} (${keys})`} {...(current ? { 'aria-current': 'page' } : {})}>
                {name}
              </Link>
            );
          })}
        </nav>
        <span class="grow" />
        {me.role !== 'viewer' && (
          <Link href="/new" class="button primary" title="New task (c)">
            New<span class="wide"> task</span>
          </Link>
        )}
        <span class="who wide" title={`role ${me.role}`}>
          {me.name}
        </span>
        <button type="button" class="quiet" onClick={() => signOut(null)}>
          Sign out
        </button>
      </header>
      {link === 'lost' && (
        <div class="banner" role="alert">
          Connection lost, retrying. Tasks go on; what is shown continues where it was.
        </div>
      )}
      <main id="main" tabIndex={-1} class={`page-${here.page}`}>
        <Page route={here} />
      </main>
      <div class={`notice ${notice?.tone ?? ''}`} role="status" aria-live="polite">
        {notice?.text}
      </div>
      <Keys go={go} />
    </AppContext.Provider>
  );
}
