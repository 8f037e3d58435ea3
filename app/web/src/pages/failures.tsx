/** Which jobs of a task failed and why, each with its log and another try. */

import { useApi, useMay } from '../context.tsx';
import { failedJobs, whyOf } from '../format/failure.ts';
import { useAction } from '../parts/action.ts';
import { Foreign, Link, Status } from '../parts/basics.tsx';
import { hashOf } from '../router.ts';
import type { Job, Task } from '../types.ts';

/** A page with more is hard to read; the details have all. */
const SHOWN = 20;

interface Props {
  task: Task;
  /** The job whose log is shown; null: all. */
  job: number | null;
  reload(): void;
}

export function Failures({ task, job, reload }: Props) {
  const failed = failedJobs(task);
  if (failed.length === 0) {
    if (task.status !== 'cancelled') return null;
    return <p class="why">{whyOf(task)}</p>;
  }
  return (
    <section class="failures" aria-label="Failed jobs">
      <p>
        <strong>
          {failed.length} of {task.workers} jobs failed
        </strong>
      </p>
      <ul>
        {failed.slice(0, SHOWN).map((one) => (
          <Failure key={one.job} task={task} job={one} shown={one.job === job} reload={reload} />
        ))}
      </ul>
      {failed.length > SHOWN && (
        <p>
          <Link href={`/tasks/${task.taskId}${hashOf({ tab: 'details' })}`}>
            {failed.length - SHOWN} more in the details
          </Link>
        </p>
      )}
    </section>
  );
}

function Failure({ task, job, shown, reload }: { task: Task; job: Job; shown: boolean; reload(): void }) {
  return (
    <li class={shown ? 'shown' : ''}>
      <Status of="failed" bare />
      <Link
        href={`/tasks/${task.taskId}${hashOf({ job: job.job })}`}
        title={`Show the log of job ${job.job}`}
        {...(shown ? { 'aria-current': 'true' } : {})}
      >
        job {job.job}
      </Link>
      <span class="failure-why">
        <Foreign text={whyOf(job)} />
        {job.attempt > 1 && <span class="faint"> after {job.attempt} attempts</span>}
      </span>
      <RetryJob task={task} job={job} reload={reload} />
    </li>
  );
}

/** A button that queues one job again; nothing for a job that cannot be. */
export function RetryJob({ task, job, reload }: { task: Task; job: Job; reload(): void }) {
  const api = useApi();
  const may = useMay();
  const [busy, act] = useAction(reload);
  if (!may.tasks || (job.status !== 'failed' && job.status !== 'cancelled')) return null;
  return (
    <button
      type="button"
      disabled={busy}
      onClick={() =>
        act(() => api.tasks.retry.mutate({ taskId: task.taskId, job: job.job }), `Job ${job.job} is queued again.`)
      }
    >
      Retry job {job.job}
    </button>
  );
}
