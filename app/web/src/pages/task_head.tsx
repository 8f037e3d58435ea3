/** The head of a task's page: what it is, how it stands and why, and what a person can do with it. */

import { useState } from 'preact/hooks';
import { useApi, useApp, useMay, useNow } from '../context.tsx';
import { whyOf } from '../format/failure.ts';
import { dollars, short } from '../format/numbers.ts';
import { agents, counted, oneLine, shortened } from '../format/text.ts';
import { duration, elapsed } from '../format/time.ts';
import { OPEN } from '../live.ts';
import { useAction } from '../parts/action.ts';
import { Ago, Foreign, Labels, Link, Status } from '../parts/basics.tsx';
import { useKey } from '../parts/keys.tsx';
import { WordsForm } from '../parts/words_form.tsx';
import type { Job, Task } from '../types.ts';
import { Failures } from './failures.tsx';

type Asking = 'pause' | 'resume' | null;

interface Props {
  task: Task;
  /** The job that is shown; null: all. */
  job: number | null;
  reload(): void;
}

export function Head({ task, job, reload }: Props) {
  const now = useNow();
  const [asking, setAsking] = useState<Asking>(null);
  const cost = total(task.jobs, (one) => one.usage?.costUsd);
  const tokens = total(task.jobs, (one) => (one.usage?.inputTokens ?? 0) + (one.usage?.outputTokens ?? 0));
  const title = oneLine(task.prompt);
  const why = whyOf(task);
  return (
    <div class="task-head">
      <div class="title-row">
        <Status of={task.status} />
        <h1>
          <span class="id">{task.taskId}</span> <Foreign text={shortened(title, 300)} />
        </h1>
        <Actions task={task} reload={reload} asking={asking} ask={setAsking} />
      </div>
      {asking !== null && <Words task={task} asking={asking} close={() => setAsking(null)} reload={reload} />}
      {task.workers === 1 && why !== '' && task.status !== 'running' && (
        <p class={task.status === 'failed' ? 'why why-failed' : 'why'}>
          <Foreign text={why} />
        </p>
      )}
      {task.workers > 1 && <Failures task={task} job={job} reload={reload} />}
      {task.wait?.why && (
        <p class="why">
          Waits: <Foreign text={task.wait.why} />
        </p>
      )}
      <Predecessors task={task} />
      <p class="meta">
        <span>{agents(task)}</span>
        <span>{counted(task.workers, 'job')}</span>
        {task.createdBy && (
          <span>
            by <Foreign text={task.createdBy} />
          </span>
        )}
        <span>
          created <Ago time={task.createdAt} />
          {task.createdAt && ' ago'}
        </span>
        {task.startedAt && <span>ran {duration(elapsed(task.startedAt, task.finishedAt, now))}</span>}
        {tokens > 0 && <span>{short(tokens)} tokens</span>}
        {cost > 0 && <span>{dollars(cost)}</span>}
        <Labels labels={task.labels} />
      </p>
    </div>
  );
}

/** After which tasks this one starts, and which of them have not ended. */
function Predecessors({ task }: { task: Task }) {
  const { live } = useApp();
  if (task.after === undefined || task.after.length === 0) return null;
  const waits = new Set(task.waitsFor ?? []);
  return (
    <p class="meta">
      <span>Starts after{task.afterAnyEnd ? ', however they end' : ''}:</span>
      {task.after.map((before) => (
        <span key={before}>
          <Link href={`/tasks/${before}`}>{before}</Link>{' '}
          {waits.has(before) ? <Status of={live.tasks.get(before)?.status ?? 'queued'} /> : 'has ended'}
        </span>
      ))}
    </p>
  );
}

interface ActionsProps {
  task: Task;
  reload(): void;
  asking: Asking;
  ask(what: Asking): void;
}

function Actions({ task, reload, asking, ask }: ActionsProps) {
  const api = useApi();
  const may = useMay();
  const [busy, act] = useAction(reload);
  const open = OPEN.has(task.status);
  const again = task.jobs.filter((job) => job.status === 'failed' || job.status === 'cancelled').length;
  const pausing = task.jobs.some((job) => job.status === 'running' && job.pauseRequestedAt !== undefined);
  const canPause = may.tasks && open && task.status !== 'paused' && !pausing;
  const canResume = may.tasks && open && task.jobs.some(isResumable);
  const toggle = (what: Asking) => ask(asking === what ? null : what);
  useKey({ p: () => (canResume ? toggle('resume') : canPause && toggle('pause')) });
  if (!may.tasks) return null;
  return (
    <span class="actions">
      {open && task.status !== 'paused' && (
        <button type="button" disabled={!canPause} aria-expanded={asking === 'pause'} onClick={() => toggle('pause')}>
          {pausing ? 'Pausing…' : 'Pause'}
        </button>
      )}
      {canResume && (
        <button type="button" aria-expanded={asking === 'resume'} onClick={() => toggle('resume')}>
          Resume
        </button>
      )}
      {open && (
        <button
          type="button"
          class="danger"
          disabled={busy || task.cancelRequestedAt !== undefined}
          onClick={() => act(() => api.tasks.cancel.mutate({ taskId: task.taskId }), 'Cancel requested.')}
        >
          {task.cancelRequestedAt === undefined ? 'Cancel' : 'Cancelling…'}
        </button>
      )}
      {(task.status === 'failed' || task.status === 'cancelled') && (
        <button
          type="button"
          disabled={busy}
          title={task.workers > 1 ? 'Queue all failed and cancelled jobs again' : 'Queue it again'}
          onClick={() => act(() => api.tasks.retry.mutate({ taskId: task.taskId }), 'Queued again.')}
        >
          {task.workers > 1 ? `Retry ${counted(again, 'job')}` : 'Retry'}
        </button>
      )}
    </span>
  );
}

function isResumable(job: Job): boolean {
  return job.status === 'paused' && (job.reason !== 'waits_for_task' || job.pauseRequestedAt !== undefined);
}

/** The words that go with a pause, for people, and with a resume, for the agents. */
function Words({
  task,
  asking,
  close,
  reload,
}: {
  task: Task;
  asking: 'pause' | 'resume';
  close(): void;
  reload(): void;
}) {
  const api = useApi();
  const [, act] = useAction(reload);
  const { taskId } = task;
  const then = async (call: () => Promise<unknown>, done: string) => {
    if (await act(call, done)) close();
  };
  if (asking === 'pause') {
    return (
      <WordsForm
        key="pause"
        label="Why it is paused, if you want to say it"
        action="Pause now"
        close={close}
        act={(text) =>
          then(() => api.tasks.pause.mutate({ taskId, ...(text === '' ? {} : { reason: text }) }), 'Pause requested.')
        }
      />
    );
  }
  return (
    <WordsForm
      key="resume"
      label={task.agent === 'shell' ? 'Nothing to say: shell takes no messages' : 'Words to the agent, if any'}
      action="Resume now"
      close={close}
      act={(text) => then(() => api.tasks.resume.mutate({ taskId, ...(text === '' ? {} : { text }) }), 'Resumed.')}
    />
  );
}

function total(jobs: Job[], of: (job: Job) => number | undefined): number {
  return jobs.reduce((sum, job) => sum + (of(job) ?? 0), 0);
}
