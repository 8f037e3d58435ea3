/** A form for what `ado run` can do, with the equal command beside it. */

import { useLayoutEffect, useMemo, useState } from 'preact/hooks';
import { knownAgents, offeredAgents } from '../agents.ts';
import { type Failure, failureOf } from '../api.ts';
import { useApi, useApp } from '../context.tsx';
import { commandOf } from '../format/command.ts';
import {
  EMPTY,
  type Field,
  fieldOf,
  filled,
  inputOf,
  type NewTask,
  type Problems,
  problemsOf,
  variablesOf,
} from '../format/new_task.ts';
import { visible } from '../format/text.ts';
import { useChanges } from '../load.ts';
import { Problem } from '../parts/basics.tsx';
import { newKey } from '../parts/composer.tsx';
import { FormContext, TextField } from '../parts/fields.tsx';
import { Agents, Groups } from './new_task_fields.tsx';
import { SaveTemplate, TemplateChoice, type Used } from './templates.tsx';

/** Refusals that name no member, and what they are about. */
const ABOUT: Record<string, Field> = { no_such_task: 'after', predecessor_failed: 'after' };

export function NewTaskPage() {
  const { live, go, say } = useApp();
  const api = useApi();
  const [task, setTask] = useState<NewTask>(EMPTY);
  const [template, setTemplate] = useState<Used | null>(null);
  const [values, setValues] = useState<{ [name: string]: string }>({});
  const [left, setLeft] = useState<ReadonlySet<string>>(new Set());
  const [refused, setRefused] = useState<Problems>({});
  const [failure, setFailure] = useState<Failure | null>(null);
  const [busy, setBusy] = useState(false);
  // the same key again is the same task, so a call that is repeated after a cut makes no second one
  const [key, setKey] = useState(newKey);
  const [, setTurn] = useState(0);
  useChanges(() => setTurn((value) => value + 1));
  const offered = offeredAgents(live);
  const standard = offered[0] ?? 'shell';
  const form = useMemo(
    () => ({ ...task, agents: task.agents.map((name) => (name === '' ? standard : name)) }),
    [task, standard],
  );
  const variables = template === null ? [] : variablesOf(form.prompt);
  const whole = template === null ? form : { ...form, prompt: filled(form.prompt, values) };
  const problems: Problems & { [variable: string]: string } = { ...problemsOf(form) };
  for (const name of variables) if (!values[name]) problems[variableId(name)] = 'give it a value';

  const set = (changed: Partial<NewTask>) => {
    setTask({ ...form, ...changed });
    setRefused(without(refused, Object.keys(changed)));
    setKey(newKey());
  };
  const problem = (id: string) => refused[id as Field] ?? (left.has(id) ? problems[id as Field] : undefined);

  useLayoutEffect(() => document.getElementById('prompt')?.focus(), []);
  // a field that is wrong is found at once, also by those who do not see it
  const show = (found: Problems, ids: string[]) => {
    setLeft(new Set([...left, ...ids]));
    setRefused(found);
    requestAnimationFrame(() => document.querySelector<HTMLElement>('.new-task [aria-invalid]')?.focus());
  };
  const create = async () => {
    if (busy) return;
    if (Object.keys(problems).length > 0) return show({}, Object.keys(problems));
    setBusy(true);
    try {
      const made = await api.tasks.create.mutate({ ...inputOf(whole, template?.task), idempotencyKey: key });
      go(`/tasks/${made.taskId}`);
      say(`${made.taskId} was created.`);
    } catch (error) {
      const said = failureOf(error);
      const field = fieldOf(said.field) ?? ABOUT[said.reason] ?? null;
      setFailure(field === null ? said : null);
      setBusy(false);
      if (field !== null) show({ [field]: [said.message, said.hint].filter(Boolean).join('. ') }, []);
    }
  };
  const isShell = form.agents.every((name) => name === 'shell');
  const same = template !== null && form.prompt === template.form.prompt;

  return (
    <FormContext.Provider value={{ problem, left: (id) => setLeft(new Set([...left, id])) }}>
      <form
        class="new-task"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          void create();
        }}
        onKeyDown={(event) => {
          if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void create();
        }}
      >
        <h1>New task</h1>
        <Problem failure={failure} />
        <TemplateChoice
          used={template}
          use={(next) => {
            setTemplate(next);
            setTask(next === null ? EMPTY : next.form);
            setValues({});
            setLeft(new Set());
            setRefused({});
            setKey(newKey());
          }}
        />
        <TextField
          id="prompt"
          label={isShell ? 'Command' : 'Prompt'}
          rows={6}
          code={isShell}
          value={form.prompt}
          set={(prompt) => set({ prompt })}
        />
        {variables.length > 0 && (
          <div class="fields">
            {variables.map((name) => (
              <TextField
                key={name}
                id={variableId(name)}
                label={`{${name}}`}
                value={values[name] ?? ''}
                set={(value) => {
                  setValues({ ...values, [name]: value });
                  setKey(newKey());
                }}
              />
            ))}
          </div>
        )}
        <div class="fields">
          <Agents task={form} set={set} offered={offered} known={knownAgents(live)} />
          <TextField id="workers" label="Jobs" numeric value={form.workers} set={(workers) => set({ workers })} />
          <TextField
            id="labels"
            label="Labels"
            placeholder="NAME=VALUE, several by spaces"
            value={form.labels}
            set={(labels) => set({ labels })}
          />
        </div>
        <div>
          <Groups task={form} set={set} isWrong={(field) => problem(field) !== undefined} />
        </div>
        <div class="actions">
          <button class="primary" type="submit" disabled={busy} title="Ctrl+Enter">
            Create task
          </button>
          <SaveTemplate
            task={() => {
              if (Object.keys(problemsOf(form)).length > 0) return null;
              return inputOf(form, template?.task);
            }}
            wrong={() => show({}, Object.keys(problems))}
          />
        </div>
        <h2>The same in a terminal</h2>
        <pre>
          {visible(
            commandOf(whole, same ? { name: template.name, form: template.form, variables: values } : undefined),
          )}
        </pre>
        <p class="faint">A repository is sent by the command alone: it has your files.</p>
      </form>
    </FormContext.Provider>
  );
}

function variableId(name: string): string {
  return `variable-${name}`;
}

function without(problems: Problems, fields: string[]): Problems {
  return Object.fromEntries(Object.entries(problems).filter(([field]) => !fields.includes(field)));
}
