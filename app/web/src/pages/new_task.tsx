/** A form for what `ado run` can do, with the equal command beside it. */

import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useMemo, useState } from 'preact/hooks';
import { type Failure, failureOf } from '../api.ts';
import { useApi, useApp } from '../context.tsx';
import { commandOf, EMPTY, inputOf, type NewTask } from '../format/command.ts';
import { visible } from '../format/text.ts';
import { useChanges } from '../load.ts';
import { Problem } from '../parts/basics.tsx';
import { newKey } from '../parts/composer.tsx';

const AGENTS = ['claude-code', 'codex', 'gemini-cli', 'opencode'];

export function NewTaskPage() {
  const { live, go, say } = useApp();
  const api = useApi();
  const [task, setTask] = useState<NewTask>(EMPTY);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [busy, setBusy] = useState(false);
  // the same key again is the same task, so a call that is repeated after a cut makes no second one
  const [key, setKey] = useState(newKey);
  const [, setTurn] = useState(0);
  useChanges(() => setTurn((value) => value + 1));
  const offered = offers([...live.workers.values()].flatMap((worker) => worker.capabilities));
  const agent = task.agent === '' ? (offered[0] ?? 'shell') : task.agent;
  const whole = useMemo(() => ({ ...task, agent }), [task, agent]);
  const set = (values: Partial<NewTask>) => {
    setTask({ ...task, ...values });
    setKey(newKey());
  };

  useLayoutEffect(() => document.getElementById('prompt')?.focus(), []);
  const create = async () => {
    if (busy || task.prompt.trim() === '') return;
    setBusy(true);
    try {
      const made = await api.tasks.create.mutate({ ...inputOf(whole), idempotencyKey: key });
      go(`/tasks/${made.taskId}`);
      say(`${made.taskId} was created.`);
    } catch (error) {
      setFailure(failureOf(error));
      setBusy(false);
    }
  };

  return (
    <form
      class="new-task"
      onSubmit={(event) => {
        event.preventDefault();
        void create();
      }}
    >
      <h1>New task</h1>
      <Problem failure={failure} />
      <Field id="prompt" label={agent === 'shell' ? 'Command' : 'Prompt'}>
        <textarea
          id="prompt"
          rows={6}
          class={agent === 'shell' ? 'code' : ''}
          value={task.prompt}
          onInput={(event) => set({ prompt: event.currentTarget.value })}
          onKeyDown={(event) => {
            if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void create();
          }}
        />
      </Field>
      <div class="fields">
        <Field id="agent" label="Agent">
          <select id="agent" value={agent} onChange={(event) => set({ agent: event.currentTarget.value })}>
            {[...new Set([...offered, ...AGENTS, 'shell'])].map((name) => (
              <option key={name} value={name}>
                {offered.includes(name) ? name : `${name} (no worker offers it now)`}
              </option>
            ))}
          </select>
        </Field>
        <NumberField id="workers" label="Jobs" least={1} value={task.workers} set={(workers) => set({ workers })} />
        <TextField
          id="labels"
          label="Labels"
          hint="NAME=VALUE, several by spaces"
          value={task.labels}
          set={(labels) => set({ labels })}
        />
      </div>
      <details>
        <summary>More</summary>
        <div class="fields">
          {agent !== 'shell' && (
            <TextField id="model" label="Model" hint="" value={task.model} set={(model) => set({ model })} />
          )}
          <TextField
            id="timeout"
            label="Time limit"
            hint="2h, 10m, 30s"
            value={task.timeout}
            set={(timeout) => set({ timeout })}
          />
          <TextField
            id="requires"
            label="Requires"
            hint="capabilities of the worker"
            value={task.requires}
            set={(requires) => set({ requires })}
          />
          <NumberField
            id="retries"
            label="Retries"
            least={0}
            value={task.retries}
            set={(retries) => set({ retries })}
          />
          <NumberField id="priority" label="Priority" value={task.priority} set={(priority) => set({ priority })} />
          <Field id="network" label="Network">
            <select
              id="network"
              value={task.network}
              onChange={(event) => set({ network: event.currentTarget.value === 'none' ? 'none' : 'all' })}
            >
              <option value="all">all</option>
              <option value="none">none</option>
            </select>
          </Field>
        </div>
        <div class="fields">
          <Field id="setup" label="Setup">
            <input
              id="setup"
              class="code"
              placeholder="npm ci"
              value={task.setup}
              onInput={(event) => set({ setup: event.currentTarget.value })}
            />
          </Field>
          <Field id="checks" label="Checks, one a line">
            <textarea
              id="checks"
              rows={2}
              class="code"
              placeholder="npm test"
              value={task.checks}
              onInput={(event) => set({ checks: event.currentTarget.value })}
            />
          </Field>
        </div>
        <label class="check">
          <input
            type="checkbox"
            checked={task.failFast}
            onChange={(event) => set({ failFast: event.currentTarget.checked })}
          />
          stop the other jobs when one fails
        </label>
      </details>
      <div class="actions">
        <button class="primary" type="submit" disabled={busy || task.prompt.trim() === ''} title="Ctrl+Enter">
          Create task
        </button>
      </div>
      <h2>The same in a terminal</h2>
      <pre>{visible(commandOf(whole))}</pre>
      <p class="faint">A repository is sent by the command alone: it has your files.</p>
    </form>
  );
}

/** Return the agents among capabilities: AI agents first, as the command chooses. */
function offers(capabilities: string[]): string[] {
  const there = new Set(capabilities);
  return [...AGENTS.filter((name) => there.has(name)), ...(there.has('shell') ? ['shell'] : [])];
}

function Field({ id, label, children }: { id: string; label: string; children: ComponentChildren }) {
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children}
    </div>
  );
}

interface TextProps {
  id: string;
  label: string;
  hint: string;
  value: string;
  set(value: string): void;
}

function TextField({ id, label, hint, value, set }: TextProps) {
  return (
    <Field id={id} label={label}>
      <input id={id} placeholder={hint} value={value} onInput={(event) => set(event.currentTarget.value)} />
    </Field>
  );
}

interface NumberProps {
  id: string;
  label: string;
  least?: number;
  value: number;
  set(value: number): void;
}

function NumberField({ id, label, least, value, set }: NumberProps) {
  return (
    <Field id={id} label={label}>
      <input
        id={id}
        type="number"
        {...(least === undefined ? {} : { min: least })}
        value={value}
        onInput={(event) => set(Math.trunc(Number(event.currentTarget.value)) || (least ?? 0))}
      />
    </Field>
  );
}
