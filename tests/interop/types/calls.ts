// Compiled with tsc --strict, never run: right calls compile, and every wrong one must be an error.
import { createTRPCClient, httpLink, type TRPCClientError } from '@trpc/client';
import type { inferRouterInputs, inferRouterOutputs } from '@trpc/server';
import type { AgentEvent, AppRouter, Json, Reason, Refusal, Task } from './ado.js';

const client = createTRPCClient<AppRouter>({ links: [httpLink({ url: 'http://127.0.0.1:7421/trpc' })] });
type Inputs = inferRouterInputs<AppRouter>;
type Outputs = inferRouterOutputs<AppRouter>;

function spoken(event: AgentEvent): string {
  switch (event.event) {
    case 'tool_end':
      return `${event.kind} ${event.title} ${event.exitCode ?? (event.ok ? 0 : 1)}`;
    case 'usage':
      return `${event.inputTokens ?? 0} ${event.costUsd ?? 0}`;
    case 'text':
    case 'text_delta':
      return event.text;
    default:
      return event.raw ?? '';
  }
}

export async function right(): Promise<void> {
  const task: Task = await client.tasks.create.mutate({ prompt: 'make test', workers: 3, labels: { team: 'a' } });
  const jobs: number = task.jobs.length;
  const code: number | undefined = task.jobs[0]?.exitCode;
  const tokens: number | undefined = task.jobs[0]?.usage?.inputTokens;
  const said: string | undefined = task.jobs[0]?.result?.text;
  const why: Reason | undefined = task.jobs[0]?.reason;
  if (why === 'exit_nonzero' || why === 'a_word_of_a_later_release') console.log(tokens, said);
  const page = await client.tasks.list.query();
  const next: string | undefined = page.nextCursor;
  await client.tasks.list.query({ status: 'running', limit: 5 });
  await client.tasks.list.query({ mine: true, createdBy: 'anna' });
  await client.tasks.list.query({ status: ['queued', 'running'], labelNames: ['team'], since: 3600, search: '100%' });
  const creator: string | undefined = task.createdBy;
  const me = await client.users.whoami.query();
  const user: string | undefined = me.userId;
  const added: Outputs['users']['add'] = await client.users.add.mutate({ name: 'anna', role: 'developer', running: 2 });
  const limit: number | undefined = added.costPerDay;
  console.log(creator, user, limit);
  const status = await client.workers.status.query();
  const waiting: number = status.queue.queued + (status.queue.waiting[0]?.jobs ?? 0);
  console.log(waiting);
  const state: 'idle' | 'busy' | undefined = status.workers
    .map((worker) => worker.state)
    .find((found) => found === 'idle' || found === 'busy');
  const input: Inputs['tasks']['cancel'] = { taskId: 'task-1' };
  const cancelled: Outputs['tasks']['cancel'] = await client.tasks.cancel.mutate(input);
  const entry = await client.tasks.kvGet.query({ taskId: 'task-1', key: 'leader' });
  const version: number | undefined = entry?.version;
  const found: Json | undefined = entry?.value;
  if (Array.isArray(found) && typeof found[0] === 'string') console.log(found[0].length);
  await client.tasks.kvSet.mutate({ taskId: 'task-1', key: 'leader', value: { ports: [1, null], of: { deep: true } } });
  client.stream.taskEvents.subscribe(
    { taskId: 'task-1', lastEventId: '5' },
    {
      onData: ({ id, data }) => {
        const cursor: string = id;
        if (data.type === 'output') console.log(cursor, data.stream === 'stderr', data.data.length);
        if (data.type === 'agent') console.log(spoken(data));
        if (data.type === 'finished') console.log(data.outcome, data.exitCode);
      },
      onError: (error: TRPCClientError<AppRouter>) => {
        const reason: Refusal | undefined = error.data?.reason;
        console.log(reason, error.data?.hint, error.data?.httpStatus);
      },
    },
  );
  client.stream.systemEvents.subscribe(undefined, {
    onData: (change) => {
      if (change.type === 'snapshot') console.log(change.workers.length);
    },
  });
  console.log(jobs, code, next, state, cancelled.status, version);
}

export async function wrong(): Promise<void> {
  // @ts-expect-error a function is no JSON
  await client.tasks.kvSet.mutate({ taskId: 'task-1', key: 'k', value: () => 1 });
  // @ts-expect-error the prompt is required
  await client.tasks.create.mutate({ workers: 3 });
  // @ts-expect-error workers is a number
  await client.tasks.create.mutate({ prompt: 'x', workers: '3' });
  // @ts-expect-error there is no such member
  await client.tasks.create.mutate({ prompt: 'x', workerCount: 3 });
  // @ts-expect-error there is no such policy
  await client.tasks.create.mutate({ prompt: 'x', onFailure: 'panic' });
  // @ts-expect-error a mutation is no query
  await client.tasks.create.query({ prompt: 'x' });
  // @ts-expect-error there is no such procedure
  await client.tasks.destroy.mutate({ taskId: 'task-1' });
  // @ts-expect-error the id is required
  await client.tasks.get.query();
  // @ts-expect-error usage counts tokens and dollars
  console.log((await client.tasks.get.query({ taskId: 'task-1' })).jobs[0]?.usage?.euros);
  // @ts-expect-error the queue has no such member
  console.log((await client.workers.status.query()).queue.asleep);
  // @ts-expect-error there is no such status
  const status: 'sleeping' = (await client.tasks.get.query({ taskId: 'task-1' })).status;
  // @ts-expect-error an optional member may be absent
  const started: string = (await client.tasks.get.query({ taskId: 'task-1' })).startedAt;
  client.stream.taskEvents.subscribe(
    { taskId: 'task-1' },
    {
      onData: ({ data }) => {
        // @ts-expect-error only the end of a tool has an exit code
        if (data.type === 'agent' && data.event === 'text') console.log(data.exitCode);
        // @ts-expect-error only output has a stream
        console.log(data.stream);
      },
    },
  );
  console.log(status, started);
}
