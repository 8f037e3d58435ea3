/** The pods that queued jobs wait for: what is wrong with each, and the next step. */

import { useApi } from '../context.tsx';
import { useLoad } from '../load.ts';
import { words } from '../log/notes.ts';
import { Foreign, Link, Problem, Status } from '../parts/basics.tsx';
import type { Job, Task } from '../types.ts';

/** Of the newest tasks; older ones say on their own pages what they wait for. */
const TASKS = 50;
const SHOWN = 50;

export function Pods({ queued, turn }: { queued: number; turn: number }) {
  const api = useApi();
  const loaded = useLoad(
    async () =>
      queued === 0 ? [] : (await api.tasks.list.query({ status: ['queued', 'running'], limit: TASKS })).items,
    [queued, turn],
  );
  const waiting = podsOf(loaded.data ?? []);
  if (waiting.length === 0) return <Problem failure={loaded.failure} />;
  return (
    <ul class="cards" aria-label="Pods that jobs wait for">
      {waiting.slice(0, SHOWN).map(({ task, job, pod }) => (
        <li class="card" key={job.jobId}>
          <Status of={pod.reason === undefined ? 'starting' : 'suspect'} />
          <span>
            pod <Foreign text={pod.name} /> for <Link href={`/tasks/${task.taskId}#job=${job.job}`}>{job.jobId}</Link>{' '}
            {pod.reason === undefined ? `is ${pod.state}` : <strong>{words(pod.reason)}</strong>}
          </span>
          {pod.reason !== undefined && (
            <span class="card-why">
              <Foreign text={[pod.message, pod.hint].filter(Boolean).join(' – ')} />
            </span>
          )}
        </li>
      ))}
    </ul>
  );
}

interface Waiting {
  task: Task;
  job: Job;
  pod: NonNullable<Job['pod']>;
}

/** Return the pods of tasks' jobs, those with a problem first. */
export function podsOf(tasks: Task[]): Waiting[] {
  const all = tasks.flatMap((task) => task.jobs.flatMap((job) => (job.pod ? [{ task, job, pod: job.pod }] : [])));
  return all.sort((one, other) => Number(one.pod.reason === undefined) - Number(other.pod.reason === undefined));
}
