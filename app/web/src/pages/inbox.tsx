/** What needs a person: open questions first, then what ended since this person last looked. */

import { useEffect, useState } from 'preact/hooks';
import { useApi, useApp, useMay } from '../context.tsx';
import { whyOf } from '../format/failure.ts';
import { counted, oneLine, shortened } from '../format/text.ts';
import { useChanges, useLoad } from '../load.ts';
import { Ago, Empty, Foreign, Link, Loading, Problem, Status } from '../parts/basics.tsx';
import { QuestionCard } from '../parts/questions.tsx';
import type { Task } from '../types.ts';
import { endedSince, lastLook, looked } from './seen.ts';

/** A question changes no task's state, so that there is no hint when one is asked elsewhere. */
const QUESTIONS_MS = 5000;
const ENDED = 50;

export function InboxPage() {
  const api = useApi();
  const { me } = useApp();
  const may = useMay();
  const [since, setSince] = useState(() => lastLook(me.name));
  const questions = useLoad(() => api.questions.list.query({ limit: 50 }), []);
  const tasks = useLoad(
    () => api.tasks.list.query({ status: ['succeeded', 'failed', 'cancelled'], mine: true, limit: ENDED }),
    [],
  );
  useChanges((task) => {
    if (task !== null) {
      questions.reload();
      tasks.reload();
    }
  });
  const { reload } = questions;
  useEffect(() => {
    const timer = setInterval(reload, QUESTIONS_MS);
    return () => clearInterval(timer);
  }, [reload]);

  const open = questions.data?.items ?? [];
  const ended = endedSince(tasks.data?.items ?? [], since);
  const empty = questions.data !== undefined && tasks.data !== undefined && open.length + ended.length === 0;
  return (
    <>
      <div class="page-head">
        <h1>Inbox</h1>
        {open.length > 0 && <span class="faint">{counted(open.length, 'question')}</span>}
      </div>
      <Problem failure={questions.failure ?? tasks.failure} />
      {questions.data === undefined && questions.loading && <Loading />}
      {open.map((question) => (
        <QuestionCard key={question.questionId} question={question} may={may.tasks} withTask done={reload} />
      ))}
      {empty && (
        <Empty title="Nothing waits for you">
          <p>Questions of agents appear here, and your tasks when they end.</p>
        </Empty>
      )}
      {ended.length > 0 && (
        <>
          <div class="page-head section-head">
            <h2>Ended since you last looked</h2>
            <span class="grow" />
            <button
              type="button"
              class="quiet"
              onClick={() => {
                looked(me.name);
                setSince(lastLook(me.name));
              }}
            >
              Mark all as seen
            </button>
          </div>
          <ul class="cards">
            {ended.map((task) => (
              <Ended key={task.taskId} task={task} />
            ))}
          </ul>
        </>
      )}
    </>
  );
}

function Ended({ task }: { task: Task }) {
  const job = task.workers > 1 && task.failedJob !== undefined ? `job ${task.failedJob}: ` : '';
  const why = `${job}${whyOf(task)}`;
  return (
    <li class="card">
      <Status of={task.status} />
      <Link class="card-title" href={`/tasks/${task.taskId}`}>
        <span class="id">{task.taskId}</span> <Foreign text={shortened(oneLine(task.prompt), 160)} />
      </Link>
      <span class="faint">
        <Ago time={task.finishedAt} /> ago
      </span>
      {why !== '' && task.status !== 'succeeded' && (
        <span class="card-why">
          <Foreign text={why} />
        </span>
      )}
    </li>
  );
}
