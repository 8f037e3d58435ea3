/** The groups of fields of a new task besides its prompt. */

import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import type { Field as FieldName, NewTask } from '../format/new_task.ts';
import {
  CheckField,
  ChoiceField,
  type ChoiceProps,
  Field,
  TextField,
  type TextProps,
  useField,
} from '../parts/fields.tsx';

interface Check {
  id: 'afterAnyEnd' | 'failFast';
  label: string;
}

interface Choice extends Pick<ChoiceProps<string>, 'label' | 'options'> {
  id: 'approve' | 'onBudget' | 'network';
}

interface Text extends Omit<TextProps, 'id' | 'value' | 'set'> {
  id: Exclude<FieldName, 'agents' | Check['id'] | Choice['id']>;
  /** Only if an AI agent runs one of the jobs. */
  ofAgent?: boolean;
}

interface Group {
  title: string;
  fields: readonly (Text | Choice)[];
  checks?: readonly Check[];
}

const GROUPS: readonly Group[] = [
  {
    title: 'Setup and checks',
    fields: [
      { id: 'setup', label: 'Setup', hint: 'runs before the agent', placeholder: 'npm ci', code: true },
      {
        id: 'checks',
        label: 'Checks, one a line',
        hint: "must succeed after the agent's turn; what fails goes back to the agent",
        placeholder: 'npm test',
        code: true,
        rows: 2,
      },
      { id: 'checkTries', label: 'Tries of the checks', hint: '3 if empty', numeric: true },
    ],
  },
  {
    title: 'Permissions and budget',
    fields: [
      {
        id: 'approve',
        label: 'The agent may',
        options: [
          ['', 'as its worker decides'],
          ['ask', 'nothing without asking'],
          ['edits', 'edit files'],
          ['all', 'everything'],
          ['none', 'only read and plan'],
        ],
      },
      { id: 'maxCost', label: 'Most US dollars a job', placeholder: '2.50' },
      { id: 'maxTokens', label: 'Most tokens a job', placeholder: '500k' },
      { id: 'maxTurns', label: 'Most turns a job', numeric: true },
      {
        id: 'onBudget',
        label: 'At a limit',
        options: [
          ['ask', 'ask a person'],
          ['fail', 'fail the job'],
        ],
      },
    ],
  },
  {
    title: 'Start, time limits and retries',
    fields: [
      { id: 'after', label: 'Start after', hint: 'tasks that must succeed first', placeholder: 'task-3 task-4' },
      { id: 'timeout', label: 'Time limit of an attempt', placeholder: '2h, 10m, 30s' },
      { id: 'startWithin', label: 'Must start within', placeholder: '1h' },
      { id: 'retries', label: 'Retries of a failed job', numeric: true },
      { id: 'priority', label: 'Priority', hint: 'larger ones are claimed first' },
    ],
    checks: [
      { id: 'afterAnyEnd', label: 'start however those tasks end' },
      { id: 'failFast', label: 'stop the other jobs when one fails' },
    ],
  },
  {
    title: 'Environment and worker',
    fields: [
      { id: 'model', label: 'Model', ofAgent: true },
      {
        id: 'env',
        label: 'Environment, one a line',
        hint: 'values never appear in a list or log',
        placeholder: 'NAME=VALUE',
        code: true,
        rows: 2,
      },
      { id: 'requires', label: 'Requires', hint: 'capabilities of the worker, several by spaces' },
      {
        id: 'network',
        label: 'Network',
        options: [
          ['all', 'all'],
          ['none', 'none'],
        ],
      },
      { id: 'cpu', label: 'CPU cores', placeholder: '2' },
      { id: 'memory', label: 'Memory', placeholder: '4Gi' },
      { id: 'gpu', label: 'GPUs', placeholder: '1' },
    ],
  },
];

function Closed({ title, wrong, children }: { title: string; wrong: boolean; children: ComponentChildren }) {
  const [open, setOpen] = useState(false);
  return (
    <details open={open || wrong} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{title}</summary>
      {children}
    </details>
  );
}

interface GroupsProps {
  task: NewTask;
  set(values: Partial<NewTask>): void;
  isWrong(field: FieldName): boolean;
}

/** The fields that few tasks need; a group with one that is wrong is open. */
export function Groups({ task, set, isWrong }: GroupsProps) {
  const hasAgent = task.agents.some((agent) => agent !== 'shell');
  const setOne = (id: FieldName) => (value: string | boolean) => set({ [id]: value });
  return GROUPS.map(({ title, fields, checks = [] }) => (
    <Closed key={title} title={title} wrong={[...fields, ...checks].some(({ id }) => isWrong(id))}>
      <div class="fields">
        {fields.map((field) => {
          if ('options' in field) {
            return <ChoiceField key={field.id} {...field} value={task[field.id]} set={setOne(field.id)} />;
          }
          const { ofAgent = false, ...shown } = field;
          if (ofAgent && !hasAgent) return null;
          return <TextField key={field.id} {...shown} value={task[field.id]} set={setOne(field.id)} />;
        })}
      </div>
      {checks.length > 0 && (
        <div class="checks">
          {checks.map(({ id, label }) => (
            <CheckField key={id} label={label} checked={task[id]} set={setOne(id)} />
          ))}
        </div>
      )}
    </Closed>
  ));
}

interface AgentsProps {
  task: NewTask;
  set(values: Partial<NewTask>): void;
  offered: string[];
  known: string[];
}

/** One agent for all jobs, or several in turn. */
export function Agents({ task, set, offered, known }: AgentsProps) {
  const first = useField('agents');
  const names = [...new Set([...offered, ...known, ...task.agents])];
  const change = (index: number, name: string) => set({ agents: task.agents.with(index, name) });
  const more = () => {
    const next = names.find((name) => !task.agents.includes(name) && name !== 'shell') ?? names[0] ?? 'shell';
    const agents = [...task.agents, next];
    set({ agents, ...(Number(task.workers) < agents.length ? { workers: String(agents.length) } : {}) });
  };
  return (
    <Field id="agents" label={task.agents.length > 1 ? 'Agents, in turn' : 'Agent'}>
      {task.agents.map((agent, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the same agent may be there twice
        <span class="agent-row" key={index}>
          <select
            {...(index === 0 ? first : {})}
            {...(index > 0 ? { 'aria-label': `Agent ${index + 1}` } : {})}
            value={agent}
            onChange={(event) => change(index, event.currentTarget.value)}
          >
            {names.map((name) => (
              <option key={name} value={name}>
                {offered.includes(name) ? name : `${name} (no worker offers it now)`}
              </option>
            ))}
          </select>
          {task.agents.length > 1 && (
            <button
              type="button"
              class="quiet"
              aria-label={`Remove agent ${index + 1}`}
              onClick={() => set({ agents: task.agents.toSpliced(index, 1) })}
            >
              ×
            </button>
          )}
        </span>
      ))}
      <button type="button" class="quiet more" onClick={more}>
        + another agent, to compare
      </button>
    </Field>
  );
}
