/** Finds a text in the whole log, also in what is not loaded: the server searches. */

import { useEffect, useRef, useState } from 'preact/hooks';
import { useApi, useApp } from '../context.tsx';
import { shortened, visible } from '../format/text.ts';
import { clock, exact } from '../format/time.ts';
import { useLoad } from '../load.ts';
import { Link, Problem } from '../parts/basics.tsx';
import { hashOf } from '../router.ts';

const TYPING_MS = 300;
const HITS = 100;
const LINE = 300;

interface Props {
  taskId: string;
  job: number | null;
  text: string;
}

/** The lines with a text, newest first, each a link to its place. Nothing is shown without a text. */
export function SearchResults({ taskId, job, text }: Props) {
  const api = useApi();
  const { path } = useApp();
  const [wanted, setWanted] = useState('');
  const [before, setBefore] = useState<number | null>(null);
  useEffect(() => {
    const timer = setTimeout(() => {
      setWanted(text);
      setBefore(null);
    }, TYPING_MS);
    return () => clearTimeout(timer);
  }, [text]);
  const now = useRef(wanted);
  now.current = wanted;
  useEffect(
    () => () => {
      now.current = '';
    },
    [],
  );
  const loaded = useLoad(async () => {
    if (wanted === '') return null;
    // one call searches for about a second, and a long log may need many until something is found
    for (let from = before; ; ) {
      const found = await api.tasks.search.query({ taskId, job, text: wanted, limit: HITS, before: from });
      if (found.items.length > 0 || found.nextBefore === undefined || now.current !== wanted) return found;
      from = found.nextBefore;
    }
  }, [taskId, job, wanted, before]);
  if (wanted === '' || loaded.data === null) return null;
  const next = loaded.data?.nextBefore;
  return (
    <section class="search-results" aria-label="Found in the whole log">
      <Problem failure={loaded.failure} />
      {loaded.loading && <p class="faint">Searching…</p>}
      {loaded.data?.items.length === 0 && <p class="faint">Nothing found{next === undefined ? '' : ' up to here'}.</p>}
      <ol>
        {loaded.data?.items.map((hit) => (
          <li key={hit.seq}>
            <Link
              href={`${path}${hashOf({ ...(job === null ? {} : { job }), seq: hit.seq })}`}
              title={`event ${hit.seq}, ${exact(hit.at)}`}
            >
              {clock(hit.at)}
            </Link>{' '}
            {job === null && hit.job !== null && <span class="faint">[{hit.job}]</span>}{' '}
            <span class="log-text">{visible(shortened(hit.line, LINE))}</span>
          </li>
        ))}
      </ol>
      {next !== undefined && (
        <button type="button" class="quiet" onClick={() => setBefore(next)}>
          Search older lines
        </button>
      )}
    </section>
  );
}
