/** The page of a route. */

import { Empty, Link } from '../parts/basics.tsx';
import type { Route } from '../router.ts';
import { TaskPage } from './task.tsx';
import { TasksPage } from './tasks.tsx';

export function Page({ route }: { route: Route }) {
  switch (route.page) {
    case 'tasks':
      return <TasksPage />;
    case 'task':
      return <TaskPage key={route.taskId} taskId={route.taskId} />;
    default:
      return (
        <Empty title="There is no such page">
          <p>
            <Link href="/tasks">Tasks</Link> has everything that ran here.
          </p>
        </Empty>
      );
  }
}
