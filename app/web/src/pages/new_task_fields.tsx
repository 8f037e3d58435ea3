/** The groups of fields of a new task besides its prompt. */

import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import type { Approval, Field as FieldName, NewTask } from '../format/new_task.ts';
import { CheckField, ChoiceField, Field, TextField, useField } from '../parts/fields.tsx';

export interface GroupProps {
  task: NewTask;
  set(values: Partial<NewTask>): void;
  /** Whether a field of the group is wrong, so that it must be seen. */
  wrong: boolean;
}

/** Which fields are in which group that may be closed. */
export const GROUPS: Record<string, FieldName[]> = {
  checks: ['setup', 'checks', 'checkTries'],
  limits: ['approve', 'maxCost', 'maxTokens', 'maxTurns', 'onBudget'],
  times: ['after', 'timeout', 'startWithin', 'retries', 'priority', 'failFast'],
  place: ['requires', 'env', 'network', 'cpu', 'memory', 'gpu', 'model'],
};

const APPROVALS: readonly (readonly [Approval | '', string])[] = [
  ['', 'as its worker decides'],
  ['ask', 'nothing without asking'],
  ['edits', 'edit files'],
  ['all', 'everything'],
  ['none', 'only read and plan'],
];

function Group({ title, wrong, children }: { title: string; wrong: boolean; children: ComponentChildren }) {
  const [open, setOpen] = useState(false);
  return (
    <details open={open || wrong} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{title}</summary>
      {children}
    </details>
  );
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

export function ChecksGroup({ task, set, wrong }: GroupProps) {
  return (
    <Group title="Setup and checks" wrong={wrong}>
      <div class="fields">
        <TextField
          id="setup"
          label="Setup"
          hint="runs before the agent"
          placeholder="npm ci"
          code
          value={task.setup}
          set={(setup) => set({ setup })}
        />
        <TextField
          id="checks"
          label="Checks, one a line"
          hint="must succeed after the agent's turn; what fails goes back to the agent"
          placeholder="npm test"
          code
          rows={2}
          value={task.checks}
          set={(checks) => set({ checks })}
        />
        <TextField
          id="checkTries"
          label="Tries of the checks"
          hint="3 if empty"
          numeric
          value={task.checkTries}
          set={(checkTries) => set({ checkTries })}
        />
      </div>
    </Group>
  );
}

export function LimitsGroup({ task, set, wrong }: GroupProps) {
  return (
    <Group title="Permissions and budget" wrong={wrong}>
      <div class="fields">
        <ChoiceField
          id="approve"
          label="The agent may"
          options={APPROVALS}
          value={task.approve}
          set={(approve) => set({ approve })}
        />
        <TextField
          id="maxCost"
          label="Most US dollars a job"
          placeholder="2.50"
          value={task.maxCost}
          set={(maxCost) => set({ maxCost })}
        />
        <TextField
          id="maxTokens"
          label="Most tokens a job"
          placeholder="500k"
          value={task.maxTokens}
          set={(maxTokens) => set({ maxTokens })}
        />
        <TextField
          id="maxTurns"
          label="Most turns a job"
          numeric
          value={task.maxTurns}
          set={(maxTurns) => set({ maxTurns })}
        />
        <ChoiceField
          id="onBudget"
          label="At a limit"
          options={[
            ['ask', 'ask a person'],
            ['fail', 'fail the job'],
          ]}
          value={task.onBudget}
          set={(onBudget) => set({ onBudget })}
        />
      </div>
    </Group>
  );
}

export function TimesGroup({ task, set, wrong }: GroupProps) {
  return (
    <Group title="Start, time limits and retries" wrong={wrong}>
      <div class="fields">
        <TextField
          id="after"
          label="Start after"
          hint="tasks that must succeed first"
          placeholder="task-3 task-4"
          value={task.after}
          set={(after) => set({ after })}
        />
        <TextField
          id="timeout"
          label="Time limit of an attempt"
          placeholder="2h, 10m, 30s"
          value={task.timeout}
          set={(timeout) => set({ timeout })}
        />
        <TextField
          id="startWithin"
          label="Must start within"
          placeholder="1h"
          value={task.startWithin}
          set={(startWithin) => set({ startWithin })}
        />
        <TextField
          id="retries"
          label="Retries of a failed job"
          numeric
          value={task.retries}
          set={(retries) => set({ retries })}
        />
        <TextField
          id="priority"
          label="Priority"
          hint="larger ones are claimed first"
          value={task.priority}
          set={(priority) => set({ priority })}
        />
      </div>
      <div class="checks">
        <CheckField
          label="start however those tasks end"
          checked={task.afterAnyEnd}
          set={(afterAnyEnd) => set({ afterAnyEnd })}
        />
        <CheckField
          label="stop the other jobs when one fails"
          checked={task.failFast}
          set={(failFast) => set({ failFast })}
        />
      </div>
    </Group>
  );
}

export function PlaceGroup({ task, set, wrong }: GroupProps) {
  const isAgent = task.agents.some((agent) => agent !== 'shell');
  return (
    <Group title="Environment and worker" wrong={wrong}>
      <div class="fields">
        {isAgent && <TextField id="model" label="Model" value={task.model} set={(model) => set({ model })} />}
        <TextField
          id="env"
          label="Environment, one a line"
          hint="values never appear in a list or log"
          placeholder="NAME=VALUE"
          code
          rows={2}
          value={task.env}
          set={(env) => set({ env })}
        />
        <TextField
          id="requires"
          label="Requires"
          hint="capabilities of the worker, several by spaces"
          value={task.requires}
          set={(requires) => set({ requires })}
        />
        <ChoiceField
          id="network"
          label="Network"
          options={[
            ['all', 'all'],
            ['none', 'none'],
          ]}
          value={task.network}
          set={(network) => set({ network })}
        />
        <TextField id="cpu" label="CPU cores" placeholder="2" value={task.cpu} set={(cpu) => set({ cpu })} />
        <TextField id="memory" label="Memory" placeholder="4Gi" value={task.memory} set={(memory) => set({ memory })} />
        <TextField id="gpu" label="GPUs" placeholder="1" value={task.gpu} set={(gpu) => set({ gpu })} />
      </div>
    </Group>
  );
}
