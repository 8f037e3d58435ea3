/** The tasks that start after one that has not ended. */

import { useApi } from '../context.tsx';
import { oneLine, shortened } from '../format/text.ts';
import { OPEN } from '../live.ts';
import { useLoad } from '../load.ts';
import { Foreign, Link, Problem, Status } from '../parts/basics.tsx';
import type { Task } from '../types.ts';

/** The API has no list of what waits for a task, so it is looked for among the newest that have not started. */
const NEWEST = 100;

export function Dependents({ task }: { task: Task }) {
  const api = useApi();
  const open = OPEN.has(task.status);
  const loaded = useLoad(async () => {
    if (!open) return [];
    const page = await api.tasks.list.query({ status: ['queued', 'paused'], since: task.createdAt, limit: NEWEST });
    return page.items.filter((other) => other.waitsFor?.includes(task.taskId));
  }, [task.taskId, open]);
  const waiting = loaded.data ?? [];
  if (waiting.length === 0) return <Problem failure={loaded.failure} />;
  return (
    <>
      <h2>Tasks that start after this one</h2>
      <ul class="cards">
        {waiting.map((other) => (
          <li class="card" key={other.taskId}>
            <Status of={other.status} />
            <Link class="card-title" href={`/tasks/${other.taskId}`}>
              <span class="id">{other.taskId}</span> <Foreign text={shortened(oneLine(other.prompt), 160)} />
            </Link>
          </li>
        ))}
      </ul>
    </>
  );
}
