/** One task: its jobs, its log, what happened to it, and what a person can do with it. */

import { useEffect, useRef } from 'preact/hooks';
import { useApi, useApp, useMay, useNow } from '../context.tsx';
import { DiffView } from '../diff/view.tsx';
import { failedJobs, nextFailed } from '../format/failure.ts';
import { duration, elapsed } from '../format/time.ts';
import { useChanges, useLoad } from '../load.ts';
import { LogPanel } from '../log/panel.tsx';
import { Loading, Problem, Status } from '../parts/basics.tsx';
import { Composer } from '../parts/composer.tsx';
import { useKey } from '../parts/keys.tsx';
import { Questions } from '../parts/questions.tsx';
import { hashOf, placeOf } from '../router.ts';
import type { Job, Task } from '../types.ts';
import { Compare } from './compare.tsx';
import { useProgress } from './progress.ts';
import { TaskDetails } from './task_details.tsx';
import { Head } from './task_head.tsx';
import { TimeLine } from './time_line.tsx';

const TABS: [string, string][] = [
  ['log', 'Log'],
  ['changes', 'Changes'],
  ['compare', 'Compare'],
  ['timeline', 'Timeline'],
  ['details', 'Details'],
];

export function TaskPage({ taskId }: { taskId: string }) {
  const { hash, go } = useApp();
  const api = useApi();
  const may = useMay();
  const task = useLoad(() => api.tasks.get.query({ taskId, explain: true }), [taskId]);
  const events = useProgress(taskId, task.data?.lastSeq ?? 0, task.reload);
  useChanges((change) => change?.taskId === taskId && task.reload());
  const place = placeOf(hash);
  const tab = TABS.some(([name]) => name === place.tab) ? place.tab : 'log';
  const messageField = useRef<HTMLTextAreaElement>(null);

  useEffect(() => {
    document.title = `${taskId} · ado`;
    return () => {
      document.title = 'ado';
    };
  }, [taskId]);
  const data = task.data;
  const job = data !== undefined && data.workers === 1 ? 0 : (place.job ?? null);
  const step = (by: number) => {
    if (data === undefined || data.workers < 2) return;
    const next = Math.max(0, Math.min(data.workers - 1, (job ?? (by > 0 ? -1 : data.workers)) + by));
    go(`/tasks/${taskId}${hashOf({ job: next })}`);
  };
  const stepFailed = () => {
    const next = data === undefined || data.workers < 2 ? undefined : nextFailed(data, job);
    if (next !== undefined) go(`/tasks/${taskId}${hashOf({ job: next })}`);
  };
  useKey({
    '[': () => step(-1),
    ']': () => step(1),
    e: stepFailed,
    m: () => messageField.current?.focus(),
  });

  if (data === undefined) {
    return (
      <>
        <Problem failure={task.failure} />
        {task.loading && <Loading />}
      </>
    );
  }
  return (
    <div class="task">
      <Head task={data} job={job} reload={task.reload} />
      <Problem failure={task.failure} />
      <Questions taskId={taskId} version={events.questions} may={may.tasks} />
      {data.workers > 1 && <Jobs task={data} job={job} go={(to) => go(`/tasks/${taskId}${hashOf(to)}`)} />}
      <div class="tabs" role="tablist" aria-label="Views">
        {TABS.filter(([name]) => name !== 'compare' || data.workers > 1).map(([name, title]) => (
          <button
            type="button"
            role="tab"
            key={name}
            id={`tab-${name}`}
            aria-selected={tab === name}
            aria-controls="panel"
            onClick={() =>
              go(
                `/tasks/${taskId}${hashOf({ ...(place.job === undefined ? {} : { job: place.job }), ...(name === 'log' ? {} : { tab: name }) })}`,
              )
            }
          >
            {title}
          </button>
        ))}
      </div>
      <div
        id="panel"
        role="tabpanel"
        aria-labelledby={`tab-${tab}`}
        class={`panel panel-${tab}`}
        // the log scrolls by itself
        {...(tab === 'log' ? {} : { tabIndex: 0 })}
      >
        {tab === 'log' && (
          <LogPanel
            key={String(job)}
            taskId={taskId}
            job={job}
            many={data.workers > 1}
            lastSeq={data.lastSeq}
            seq={place.seq}
          />
        )}
        {tab === 'changes' && (
          <DiffView taskId={taskId} job={job ?? 0} version={data.jobs[job ?? 0]?.finishedAt ?? ''} />
        )}
        {tab === 'compare' && <Compare task={data} reload={task.reload} />}
        {tab === 'timeline' && (
          <TimeLine taskId={taskId} events={events.items} cut={events.cut} many={data.workers > 1} />
        )}
        {tab === 'details' && <TaskDetails task={data} reload={task.reload} />}
      </div>
      {may.tasks && <Composer task={data} job={job} field={messageField} />}
    </div>
  );
}

const CHIPS = 40;

function Jobs({ task, job, go }: { task: Task; job: number | null; go(to: { job?: number }): void }) {
  if (task.workers > CHIPS) {
    return (
      <label class="job-choice">
        Job{' '}
        <select
          value={job === null ? '' : String(job)}
          onChange={(event) => go(event.currentTarget.value === '' ? {} : { job: Number(event.currentTarget.value) })}
        >
          <option value="">all {task.workers}</option>
          {failedFirst(task).map((one) => (
            <option key={one.job} value={String(one.job)}>
              {one.job} · {one.status}
            </option>
          ))}
        </select>
      </label>
    );
  }
  return (
    <fieldset class="jobs">
      <legend class="unseen">Jobs</legend>
      <button type="button" aria-pressed={job === null} onClick={() => go({})}>
        All
      </button>
      {task.jobs.map((one) => (
        <JobChip key={one.job} job={one} pressed={job === one.job} choose={() => go({ job: one.job })} />
      ))}
    </fieldset>
  );
}

function failedFirst(task: Task): Job[] {
  return [...failedJobs(task), ...task.jobs.filter((job) => job.status !== 'failed')];
}

function JobChip({ job, pressed, choose }: { job: Job; pressed: boolean; choose(): void }) {
  const now = useNow();
  const time = job.startedAt === undefined ? '' : duration(elapsed(job.startedAt, job.finishedAt, now), 1);
  const exit = job.exitCode !== undefined && job.exitCode !== 0 ? `exit ${job.exitCode}` : '';
  return (
    <button
      type="button"
      aria-pressed={pressed}
      title={[job.status, job.agent, job.workerId, job.message].filter(Boolean).join(' · ')}
      onClick={choose}
    >
      <Status of={job.status} bare /> {job.job} <span class="faint">{exit || time}</span>
    </button>
  );
}
