/** The page of a route. */

import { Empty, Link } from '../parts/basics.tsx';
import type { Route } from '../router.ts';
import { HealthPage } from './health.tsx';
import { InboxPage } from './inbox.tsx';
import { NewTaskPage } from './new_task.tsx';
import { SchedulesPage } from './schedules.tsx';
import { TaskPage } from './task.tsx';
import { TasksPage } from './tasks.tsx';
import { WorkersPage } from './workers.tsx';

export function Page({ route }: { route: Route }) {
  switch (route.page) {
    case 'tasks':
      return <TasksPage />;
    case 'task':
      return <TaskPage key={route.taskId} taskId={route.taskId} />;
    case 'inbox':
      return <InboxPage />;
    case 'schedules':
      return <SchedulesPage />;
    case 'workers':
      return <WorkersPage />;
    case 'health':
      return <HealthPage />;
    case 'new':
      return <NewTaskPage />;
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
