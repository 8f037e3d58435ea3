/** Templates in the form of a new task: fill it from one, and save it as one. */

import { useState } from 'preact/hooks';
import { failureOf } from '../api.ts';
import { useApi, useApp } from '../context.tsx';
import { formOf, type NewTask } from '../format/new_task.ts';
import { oneLine, shortened, visible } from '../format/text.ts';
import { useLoad } from '../load.ts';
import type { Inputs } from '../types.ts';

type Input = Inputs['tasks']['create'];

/** A template that fills the form. */
export interface Used {
  name: string;
  form: NewTask;
  task: Partial<Input>;
}

/** Members of a template that the form has no field for, but which its task gets all the same. */
const BEYOND: [keyof Input, string][] = [
  ['workspace', 'a repository'],
  ['pod', 'a pod of its own kind'],
  ['stdin', 'input'],
  ['trustProject', "the repository's own settings"],
];

export function TemplateChoice({ used, use }: { used: Used | null; use(next: Used | null): void }) {
  const api = useApi();
  const { say } = useApp();
  const loaded = useLoad(() => api.templates.list.query({ limit: 200 }), []);
  const templates = loaded.data?.items ?? [];
  if (templates.length === 0) return null;
  const choose = async (name: string) => {
    if (name === '') return use(null);
    try {
      const template = await api.templates.get.query({ name });
      const task = template.task as Partial<Input>;
      use({ name, task, form: formOf(task) });
    } catch (error) {
      say(failureOf(error).message, 'bad');
    }
  };
  const beyond = BEYOND.filter(([member]) => used?.task[member]).map(([, text]) => text);
  return (
    <div class="field">
      <label for="template">Template</label>
      <select id="template" value={used?.name ?? ''} onChange={(event) => void choose(event.currentTarget.value)}>
        <option value="">none</option>
        {templates.map((template) => (
          <option key={template.name} value={template.name}>
            {template.name} · {visible(template.agent)} · {shortened(oneLine(template.prompt), 60)}
          </option>
        ))}
      </select>
      {beyond.length > 0 && <p class="faint field-hint">It also brings {beyond.join(', ')}.</p>}
    </div>
  );
}

interface SaveProps {
  /** Return what is saved; null if the form is not right. */
  task(): Input | null;
  /** Show what is not right. */
  wrong(): void;
}

export function SaveTemplate({ task, wrong }: SaveProps) {
  const api = useApi();
  const { say } = useApp();
  const [name, setName] = useState<string | null>(null);
  const [problem, setProblem] = useState('');
  const [exists, setExists] = useState(false);
  if (name === null) {
    return (
      <button type="button" onClick={() => setName('')}>
        Save as template…
      </button>
    );
  }
  const save = async () => {
    const input = task();
    if (input === null) return wrong();
    try {
      const { env: _, ...kept } = input; // a template has no values of the environment
      await api.templates.save.mutate({ name, task: kept, overwrite: exists });
      say(`Saved: ado run --remote @${name}`);
      setName(null);
      setExists(false);
      setProblem('');
    } catch (error) {
      const failure = failureOf(error);
      setExists(failure.reason === 'template_exists');
      setProblem(
        [failure.message, failure.reason === 'template_exists' ? '' : failure.hint].filter(Boolean).join('. '),
      );
    }
  };
  return (
    <span class="save-template">
      <input
        aria-label="Name of the template"
        placeholder="name of the template"
        value={name}
        {...(problem === '' ? {} : { 'aria-invalid': 'true' as const, 'aria-describedby': 'template-note' })}
        onInput={(event) => {
          setName(event.currentTarget.value.trim());
          setExists(false);
        }}
        onKeyDown={(event) => {
          if (event.key === 'Escape') setName(null);
          if (event.key !== 'Enter') return;
          event.preventDefault();
          event.stopPropagation();
          void save();
        }}
      />
      <button type="button" disabled={name === ''} onClick={() => void save()}>
        {exists ? 'Save over it' : 'Save'}
      </button>
      {problem !== '' && (
        <span class="field-problem" id="template-note" role="alert">
          {visible(problem)}
        </span>
      )}
    </span>
  );
}
