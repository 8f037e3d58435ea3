/** The field in which a person writes to a task's agents. */

import { useState } from 'preact/hooks';
import { type Failure, failureOf } from '../api.ts';
import { useApi, useApp } from '../context.tsx';
import { OPEN } from '../live.ts';
import type { Task } from '../types.ts';
import { Problem } from './basics.tsx';

interface Props {
  task: Task;
  job: number | null;
  field: { current: HTMLTextAreaElement | null };
}

export function Composer({ task, job, field }: Props) {
  const api = useApi();
  const { say } = useApp();
  const [text, setText] = useState('');
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Failure | null>(null);
  // the key makes a call that is repeated after a cut one message
  const [key, setKey] = useState(newKey);
  if (task.agent === 'shell') return null; // it takes no messages
  const to =
    task.workers === 1
      ? 'the agent'
      : job === null
        ? `the agents of all ${task.workers} jobs`
        : `the agent of job ${job}`;
  const continues = !OPEN.has(task.status);
  const label = `${continues ? 'Follow-up' : 'Message'} to ${to}`;
  const send = async () => {
    if (text.trim() === '' || busy) return;
    setBusy(true);
    try {
      const input = { taskId: task.taskId, text, idempotencyKey: key, ...(job === null ? {} : { job }) };
      const message = await api.tasks.send.mutate(input);
      setText('');
      setKey(newKey());
      setFailure(null);
      if (continues) say('Sent; the task goes on with it.');
      else say(message.state === 'delivered' ? 'Delivered.' : 'Sent; the agent takes it as soon as it can.');
    } catch (error) {
      setFailure(failureOf(error));
    }
    setBusy(false);
  };
  return (
    <>
      <Problem failure={failure} />
      <form
        class="composer"
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <textarea
          ref={field}
          rows={1}
          aria-label={label}
          placeholder={continues ? `${label}: it goes on with its files   m` : `${label}   m`}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void send();
            if (event.key === 'Escape') event.currentTarget.blur();
          }}
        />
        <button type="submit" disabled={busy || text.trim() === ''} title="Ctrl+Enter">
          Send
        </button>
      </form>
    </>
  );
}

/** Return a random key. `crypto.randomUUID` is missing where a page comes over plain HTTP. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
