/** The log of a task with its tools: find, follow, copy, download. */

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { failureOf } from '../api.ts';
import { useApi, useApp } from '../context.tsx';
import { bytes } from '../format/numbers.ts';
import { counted } from '../format/text.ts';
import { Problem } from '../parts/basics.tsx';
import { useKey } from '../parts/keys.tsx';
import { download } from './download.ts';
import { SearchResults } from './search.tsx';
import { LogSource } from './source.ts';
import { LogView } from './view.tsx';

interface Props {
  taskId: string;
  job: number | null;
  many: boolean;
  /** The last event of the task's log, as far as the page knows. */
  lastSeq: number;
  seq: number | undefined;
}

export function LogPanel({ taskId, job, many, lastSeq, seq }: Props) {
  const api = useApi();
  const { say } = useApp();
  const [, setVersion] = useState(0);
  const [following, setFollowing] = useState(seq === undefined);
  const [times, setTimes] = useState(() => innerWidth > 700);
  const [find, setFind] = useState('');
  const field = useRef<HTMLInputElement>(null);
  const source = useMemo(
    () => new LogSource(api, taskId, job, () => setVersion((value) => value + 1)),
    [api, taskId, job],
  );

  useEffect(() => () => source.close(), [source]);
  useEffect(() => {
    if (seq === undefined) source.openAtEnd();
    else source.openAt(seq);
    setFollowing(source.following);
  }, [source, seq]);
  // a log that had ended goes on after a retry or a message
  useEffect(() => {
    source.lastSeq = lastSeq;
  }, [source, lastSeq]);

  const follow = () => {
    source.openAtEnd();
    setFollowing(true);
  };
  useKey({ f: follow, '/': () => field.current?.focus() });
  const copy = async () => {
    const text = source.model.lines.slice(0, source.model.lines.length).map((line) => line.text);
    try {
      await navigator.clipboard.writeText(`${text.join('\n')}\n`);
      say(`${counted(text.length, 'line')} copied.`);
    } catch {
      say('The browser does not allow copying here.', 'bad');
    }
  };

  const save = async () => {
    say('Collecting the output…');
    try {
      say(`${bytes(await download(api, taskId, job))} saved.`);
    } catch (error) {
      say(failureOf(error).message, 'bad');
    }
  };

  return (
    <div class="log-panel">
      <div class="log-tools">
        <input
          ref={field}
          type="search"
          placeholder="Find   /"
          aria-label="Find in the log"
          value={find}
          onInput={(event) => setFind(event.currentTarget.value)}
        />
        <span class="grow" />
        <label class="check">
          <input type="checkbox" checked={times} onChange={(event) => setTimes(event.currentTarget.checked)} /> times
        </label>
        <button type="button" class="quiet" onClick={copy}>
          Copy
        </button>
        <button type="button" class="quiet wide" onClick={save}>
          Download
        </button>
        <button type="button" class="quiet" aria-pressed={following} title="Follow the end (f)" onClick={follow}>
          {following ? 'Following' : 'Go to end'}
        </button>
      </div>
      <SearchResults taskId={taskId} job={job} text={find} />
      <Problem failure={source.failure} />
      <LogView
        source={source}
        withJob={many && job === null}
        withTimes={times}
        marked={seq}
        find={find}
        onFollow={setFollowing}
      />
      <div class="log-foot faint" role="status">
        {source.loadingOlder ? 'loading older lines…' : source.hasOlder ? 'scroll up for older lines' : ''}
        <span class="grow" />
        {source.ended ? 'end of the log' : source.paused ? 'scroll down for newer lines' : 'live'}
      </div>
    </div>
  );
}
