/** All tasks, newest first: live, filtered, in pages, with bulk cancel and retry. */

import { useEffect, useRef, useState } from 'preact/hooks';
import { knownAgents } from '../agents.ts';
import { failureOf } from '../api.ts';
import { useApi, useApp, useMay, useNow } from '../context.tsx';
import { agents, counted, oneLine, shortened, visible } from '../format/text.ts';
import { duration, elapsed } from '../format/time.ts';
import { useChanges, useLoad } from '../load.ts';
import { Ago, Empty, Foreign, Labels, Link, Loading, Problem, Status } from '../parts/basics.tsx';
import { useKey } from '../parts/keys.tsx';
import type { Task } from '../types.ts';
import { type Filter, filterOf, type Group, grouped, inputOf, STATUSES, searchOf } from './task_filter.ts';

const PAGE = 50;
const TYPING_MS = 250;

export function TasksPage() {
  const { search } = useApp();
  const filter = filterOf(search);
  return <TaskTable key={search} filter={filter} />;
}

function TaskTable({ filter }: { filter: Filter }) {
  const { go, live, say } = useApp();
  const api = useApi();
  const may = useMay();
  const [pages, setPages] = useState<(string | undefined)[]>([undefined]);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [row, setRow] = useState(0);
  const [busy, setBusy] = useState(false);
  const searchField = useRef<HTMLInputElement>(null);
  const cursor = pages.at(-1);
  const loaded = useLoad(
    () => api.tasks.list.query({ ...inputOf(filter), limit: PAGE, ...(cursor === undefined ? {} : { cursor }) }),
    [filter, cursor],
  );
  useChanges((task) => {
    const shown = task !== null && loaded.data?.items.some((item) => item.taskId === task.taskId);
    if (task !== null && (shown || pages.length === 1)) loaded.reload();
  });
  const items = loaded.data?.items ?? [];
  const groups = filter.group === null ? [{ value: null, tasks: items }] : grouped(items, filter.group);
  const tasks = groups.flatMap((group) => group.tasks);
  const current = tasks[Math.min(row, tasks.length - 1)];

  const toggle = (taskId: string) => {
    const next = new Set(chosen);
    if (!next.delete(taskId)) next.add(taskId);
    setChosen(next);
  };
  const move = (by: number) => {
    const next = Math.max(0, Math.min(tasks.length - 1, row + by));
    setRow(next);
    document.querySelectorAll<HTMLElement>('.task-row a.row-link')[next]?.focus();
  };
  useKey({
    j: () => move(1),
    k: () => move(-1),
    x: () => current !== undefined && may.tasks && toggle(current.taskId),
    '/': () => searchField.current?.focus(),
  });

  const change = (next: Filter) => go(`/tasks${searchOf(next)}`);
  const bulk = async (what: 'cancel' | 'retry') => {
    setBusy(true);
    const ids = [...chosen];
    const done = await Promise.allSettled(ids.map((taskId) => api.tasks[what].mutate({ taskId })));
    const refused = done.filter((result) => result.status === 'rejected');
    setBusy(false);
    setChosen(new Set());
    loaded.reload();
    const first = refused[0];
    if (first === undefined)
      say(`${counted(ids.length, 'task')}: ${what === 'cancel' ? 'cancel requested' : 'retried'}.`);
    else say(`${refused.length} of ${counted(ids.length, 'task')} refused: ${failureOf(first.reason).message}`, 'bad');
  };

  return (
    <>
      <div class="page-head">
        <h1>Tasks</h1>
        {live.ready && <span class="faint">{live.tasks.size === 0 ? 'none open' : `${live.tasks.size} open`}</span>}
      </div>
      <Filters filter={filter} change={change} field={searchField} names={namesOf(items)} />
      {chosen.size > 0 && (
        <div class="bulk" role="toolbar" aria-label="Chosen tasks">
          <strong>{counted(chosen.size, 'task')} chosen</strong>
          <button type="button" disabled={busy} onClick={() => bulk('cancel')}>
            Cancel
          </button>
          <button type="button" disabled={busy} onClick={() => bulk('retry')}>
            Retry
          </button>
          <button type="button" class="quiet" onClick={() => setChosen(new Set())}>
            Clear
          </button>
        </div>
      )}
      <Problem failure={loaded.failure} />
      {loaded.loading && loaded.data === undefined && <Loading />}
      {loaded.data !== undefined && tasks.length === 0 && (
        <NoTasks filter={filter} more={loaded.data.nextCursor !== undefined} />
      )}
      {tasks.length > 0 && (
        <table class="rows">
          <thead>
            <tr>
              {may.tasks && (
                <th class="narrow">
                  <input
                    type="checkbox"
                    aria-label="Choose all on this page"
                    checked={tasks.every((task) => chosen.has(task.taskId))}
                    onChange={(event) =>
                      setChosen(event.currentTarget.checked ? new Set(tasks.map((task) => task.taskId)) : new Set())
                    }
                  />
                </th>
              )}
              <th>Status</th>
              <th>Task</th>
              <th class="wide">Agent</th>
              <th class="wide">Jobs</th>
              <th class="wide">By</th>
              <th class="wide number">Time</th>
              <th class="number">Created</th>
            </tr>
          </thead>
          {groups.map((group) => (
            <tbody key={String(group.value)}>
              {filter.group !== null && <GroupHead filter={filter} group={group} columns={may.tasks ? 8 : 7} />}
              {group.tasks.map((task) => (
                <Row
                  key={task.taskId}
                  task={task}
                  chosen={chosen.has(task.taskId)}
                  toggle={may.tasks ? () => toggle(task.taskId) : undefined}
                  onFocus={() => setRow(tasks.indexOf(task))}
                />
              ))}
            </tbody>
          ))}
        </table>
      )}
      <Pages
        first={pages.length === 1}
        next={loaded.data?.nextCursor}
        back={() => setPages(pages.slice(0, -1))}
        forward={(to) => {
          setPages([...pages, to]);
          setRow(0);
        }}
      />
    </>
  );
}

function Row({
  task,
  chosen,
  toggle,
  onFocus,
}: {
  task: Task;
  chosen: boolean;
  toggle: (() => void) | undefined;
  onFocus(): void;
}) {
  const now = useNow();
  const title = shortened(oneLine(task.prompt), 200);
  return (
    <tr class={`task-row${chosen ? ' chosen' : ''}`} onFocusCapture={onFocus}>
      {toggle && (
        <td class="narrow">
          <input type="checkbox" aria-label={`Choose ${task.taskId}`} checked={chosen} onChange={toggle} />
        </td>
      )}
      <td>
        <Status of={task.status} />
      </td>
      <td class="what">
        <Link class="row-link" href={`/tasks/${task.taskId}`}>
          <span class="id">{task.taskId}</span> <Foreign text={title} />
        </Link>
        <Labels labels={task.labels} />
      </td>
      <td class="wide">{agents(task)}</td>
      <td class="wide">
        <JobDots task={task} />
      </td>
      <td class="wide">{task.createdBy && <Foreign text={task.createdBy} />}</td>
      <td class="wide number">{task.startedAt && duration(elapsed(task.startedAt, task.finishedAt, now))}</td>
      <td class="number">
        <Ago time={task.createdAt} />
      </td>
    </tr>
  );
}

const DOTS = 12;

function JobDots({ task }: { task: Task }) {
  if (task.workers > DOTS) {
    const done = task.jobs.filter((job) => job.status === 'succeeded').length;
    const failed = task.jobs.filter((job) => job.status === 'failed').length;
    return (
      <span>
        {done}/{task.workers}
        {failed > 0 && <span class="failed-count"> {failed} failed</span>}
      </span>
    );
  }
  return (
    <span class="dots" title={task.jobs.map((job) => `${job.job}: ${job.status}`).join(', ')}>
      {task.jobs.map((job) => (
        <span key={job.job} class={`dot dot-${job.status}`} />
      ))}
      <span class="unseen">{counted(task.workers, 'job')}</span>
    </span>
  );
}

/** The names of the labels of tasks. */
function namesOf(tasks: Task[]): string[] {
  return [...new Set(tasks.flatMap((task) => Object.keys(task.labels)))].sort();
}

interface GroupHeadProps {
  filter: Filter;
  group: Group<Task>;
  columns: number;
}

function GroupHead({ filter, group, columns }: GroupHeadProps) {
  const failed = group.tasks.filter((task) => task.status === 'failed').length;
  const label = group.value === null ? '' : `${filter.group}=${group.value}`;
  return (
    <tr class="group">
      <th colSpan={columns} scope="rowgroup">
        {group.value === null ? (
          <span>without {filter.group}</span>
        ) : (
          <Link href={`/tasks${searchOf({ ...filter, group: null, labels: [...filter.labels, label] })}`}>
            <Foreign text={label} />
          </Link>
        )}{' '}
        <span class="faint">
          {counted(group.tasks.length, 'task')} on this page{failed > 0 && `, ${failed} failed`}
        </span>
      </th>
    </tr>
  );
}

interface FiltersProps {
  filter: Filter;
  change(next: Filter): void;
  field: { current: HTMLInputElement | null };
  /** Labels by which the tasks can be grouped. */
  names: string[];
}

function Filters({ filter, change, field, names }: FiltersProps) {
  const { live } = useApp();
  const [text, setText] = useState(filter.text);
  useEffect(() => {
    if (text === filter.text) return;
    const timer = setTimeout(() => change({ ...filter, text }), TYPING_MS);
    return () => clearTimeout(timer);
  }, [text, filter, change]);
  return (
    <search class="filters">
      <input
        ref={field}
        type="search"
        placeholder="Search prompts   /"
        aria-label="Search prompts"
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <fieldset class="segments">
        <legend class="unseen">Status</legend>
        {['all', ...STATUSES].map((status) => (
          <label key={status} class={(filter.status ?? 'all') === status ? 'on' : ''}>
            <input
              type="radio"
              name="status"
              class="unseen"
              checked={(filter.status ?? 'all') === status}
              onChange={() => change({ ...filter, status: status === 'all' ? null : status })}
            />
            {status}
          </label>
        ))}
      </fieldset>
      <label class="check">
        <input
          type="checkbox"
          checked={filter.mine}
          onChange={(event) => change({ ...filter, mine: event.currentTarget.checked })}
        />
        mine
      </label>
      <Choice
        label="Agent"
        any="any agent"
        value={filter.agent}
        values={knownAgents(live)}
        choose={(agent) => change({ ...filter, agent })}
      />
      <Choice
        label="Group by"
        any="no groups"
        value={filter.group}
        values={names}
        choose={(group) => change({ ...filter, group })}
      />
      {filter.labels.map((label) => (
        <button
          type="button"
          key={label}
          class="label"
          title="Remove this filter"
          onClick={() => change({ ...filter, labels: filter.labels.filter((other) => other !== label) })}
        >
          <Foreign text={label} /> ×
        </button>
      ))}
    </search>
  );
}

interface ChoiceProps {
  label: string;
  any: string;
  value: string | null;
  values: string[];
  choose(value: string | null): void;
}

/** A choice of one value or none. */
function Choice({ label, any, value, values, choose }: ChoiceProps) {
  const all = value === null || values.includes(value) ? values : [...values, value];
  if (all.length === 0) return null;
  return (
    <select aria-label={label} value={value ?? ''} onChange={(event) => choose(event.currentTarget.value || null)}>
      <option value="">{any}</option>
      {all.map((name) => (
        <option key={name} value={name}>
          {label === 'Group by' ? `by ${visible(name)}` : visible(name)}
        </option>
      ))}
    </select>
  );
}

function NoTasks({ filter, more }: { filter: Filter; more: boolean }) {
  if (more) return <Empty title="Nothing found among these tasks yet">The search goes on with the next page.</Empty>;
  if (searchOf(filter) !== '') {
    return (
      <Empty title="No task matches">
        <p>
          <Link href="/tasks">Show all tasks</Link>
        </p>
      </Empty>
    );
  }
  return (
    <Empty title="No tasks yet">
      <p>
        Start one: <Link href="/new">New task</Link>, or in a terminal
      </p>
      <pre>ado run --remote --agent shell 'echo hello'</pre>
    </Empty>
  );
}

function Pages({
  first,
  next,
  back,
  forward,
}: {
  first: boolean;
  next: string | undefined;
  back(): void;
  forward(to: string): void;
}) {
  if (first && next === undefined) return null;
  return (
    <nav class="pages" aria-label="More tasks">
      <button type="button" disabled={first} onClick={back}>
        ← Newer
      </button>
      <button type="button" disabled={next === undefined} onClick={() => next !== undefined && forward(next)}>
        Older →
      </button>
    </nav>
  );
}
