/** The jobs of a task side by side, as `ado compare` shows them, and the choice of one. */

import { useState } from 'preact/hooks';
import { failureOf } from '../api.ts';
import { useApi, useApp, useMay, useNow } from '../context.tsx';
import { type Changes, loadChanges } from '../diff/load.ts';
import { dollars, short } from '../format/numbers.ts';
import { visible } from '../format/text.ts';
import { duration, elapsed } from '../format/time.ts';
import { OPEN } from '../live.ts';
import { useLoad } from '../load.ts';
import { words } from '../log/notes.ts';
import { Link, Problem, Status } from '../parts/basics.tsx';
import { hashOf } from '../router.ts';
import type { Job, Task } from '../types.ts';

export function Compare({ task, reload }: { task: Task; reload(): void }) {
  const { connection } = useApp();
  const ended = task.jobs.map((job) => job.finishedAt ?? '').join();
  const changes = useLoad(() => loadChanges(connection, task.taskId), [task.taskId, ended]);
  return (
    <div class="details">
      <Problem failure={changes.failure} />
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, by keyboard too */}
      <section class="scroll" aria-label="Jobs side by side" tabIndex={0}>
        <table class="rows">
          <thead>
            <tr>
              <th>Job</th>
              <th>Agent</th>
              <th>Status</th>
              <th>Checks</th>
              <th class="number">Files</th>
              <th class="number">Lines</th>
              <th class="number">Cost</th>
              <th class="number">Time</th>
              <th>Choice</th>
            </tr>
          </thead>
          <tbody>
            {task.jobs.map((job) => (
              <Candidate key={job.job} task={task} job={job} changes={changes.data?.get(job.job)} reload={reload} />
            ))}
          </tbody>
        </table>
      </section>
      {task.pickedJob !== undefined && (
        <p>
          Take the result home:{' '}
          <code>
            ado apply {task.taskId} --job {task.pickedJob}
          </code>{' '}
          or{' '}
          <code>
            ado pr {task.taskId} --job {task.pickedJob}
          </code>
        </p>
      )}
    </div>
  );
}

interface Row {
  task: Task;
  job: Job;
  /** Of its result; absent: it has none. */
  changes: Changes | undefined;
  reload(): void;
}

function Candidate({ task, job, changes, reload }: Row) {
  const now = useNow();
  const place = `/tasks/${task.taskId}${hashOf({ job: job.job, tab: 'changes' })}`;
  return (
    <tr>
      <td>{job.job}</td>
      <td>{visible(job.agent)}</td>
      <td>
        <Status of={job.status} /> {job.reason && <span class="faint">{words(job.reason)}</span>}
      </td>
      <td>{checksOf(task, job)}</td>
      <td class="number">{changes && <Link href={place}>{changes.files}</Link>}</td>
      <td class="number">{changes && `+${changes.added} −${changes.removed}`}</td>
      <td class="number">{costOf(job)}</td>
      <td class="number">{job.startedAt && duration(elapsed(job.startedAt, job.finishedAt, now))}</td>
      <td>
        <Choice task={task} job={job} has={changes !== undefined} reload={reload} />
      </td>
    </tr>
  );
}

function Choice({ task, job, has, reload }: { task: Task; job: Job; has: boolean; reload(): void }) {
  const api = useApi();
  const { say } = useApp();
  const may = useMay();
  const [busy, setBusy] = useState(false);
  if (task.pickedJob === job.job) return <strong>picked</strong>;
  if (!may.tasks || !has || OPEN.has(job.status)) return null;
  const pick = async () => {
    setBusy(true);
    try {
      await api.tasks.pick.mutate({ taskId: task.taskId, job: job.job });
      say(`Job ${job.job} is picked.`);
    } catch (error) {
      const failure = failureOf(error);
      say(`${failure.message} ${failure.hint}`, 'bad');
    }
    setBusy(false);
    reload();
  };
  return (
    <button type="button" disabled={busy} aria-label={`Pick job ${job.job}`} onClick={pick}>
      Pick
    </button>
  );
}

/** Return how the checks ended for a job; empty where there are none, or as long as that is not known. */
function checksOf(task: Task, job: Job): string {
  if (!task.checks?.commands.length) return '';
  if (job.status === 'succeeded') return 'passed';
  return job.reason === 'check_failed' ? 'failed' : '';
}

/** Return dollars, or tokens of an agent that reports no dollars. */
function costOf(job: Job): string {
  if (job.usage?.costUsd !== undefined) return dollars(job.usage.costUsd);
  const tokens = (job.usage?.inputTokens ?? 0) + (job.usage?.outputTokens ?? 0);
  return tokens > 0 ? `${short(tokens)} tokens` : '';
}
