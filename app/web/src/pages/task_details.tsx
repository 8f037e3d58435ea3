/** Everything else that is known of a task: the whole prompt, and a row for each job. */

import { useNow } from '../context.tsx';
import { whyOf } from '../format/failure.ts';
import { dollars, short } from '../format/numbers.ts';
import { agents, counted, visible } from '../format/text.ts';
import { duration, elapsed } from '../format/time.ts';
import { Foreign, Link, Status } from '../parts/basics.tsx';
import { hashOf } from '../router.ts';
import type { Job, Task } from '../types.ts';
import { Dependents } from './dependents.tsx';
import { RetryJob } from './failures.tsx';

export function TaskDetails({ task, reload }: { task: Task; reload(): void }) {
  const results = task.jobs.filter((job) => job.result?.text);
  return (
    <div class="details">
      <h2>Prompt</h2>
      <pre class="prompt">{visible(task.prompt)}</pre>
      {results.map((job) => (
        <section key={job.job}>
          <h2>Answer{task.workers > 1 ? ` of job ${job.job}` : ''}</h2>
          <pre class="prompt">{visible(job.result?.text ?? '')}</pre>
        </section>
      ))}
      <h2>Jobs</h2>
      <div class="scroll">
        <table class="rows">
          <thead>
            <tr>
              <th>Job</th>
              <th>Agent</th>
              <th>Status</th>
              <th class="number">Attempt</th>
              <th>Worker</th>
              <th class="number">Exit</th>
              <th>Reason</th>
              <th class="number">Time</th>
              <th class="number">Tokens</th>
              <th class="number">Cost</th>
              <th>
                <span class="unseen">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {task.jobs.map((job) => (
              <JobRow key={job.job} task={task} job={job} reload={reload} />
            ))}
          </tbody>
        </table>
      </div>
      <Dependents task={task} />
      <h2>Settings</h2>
      <dl class="facts">
        {facts(task).map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <Foreign text={value} />
            </dd>
          </div>
        ))}
      </dl>
    </div>
  );
}

function JobRow({ task, job, reload }: { task: Task; job: Job; reload(): void }) {
  const now = useNow();
  const tokens = (job.usage?.inputTokens ?? 0) + (job.usage?.outputTokens ?? 0);
  return (
    <tr>
      <td>
        <Link href={`/tasks/${task.taskId}${hashOf({ job: job.job })}`}>{job.job}</Link>
      </td>
      <td>{visible(job.agent)}</td>
      <td>
        <Status of={job.status} />
      </td>
      <td class="number">{job.attempt}</td>
      <td>{job.workerId && <Foreign text={job.workerId} />}</td>
      <td class="number">{job.exitCode}</td>
      <td>
        <Foreign text={whyOf(job)} />
      </td>
      <td class="number">{job.startedAt && duration(elapsed(job.startedAt, job.finishedAt, now))}</td>
      <td class="number">{tokens > 0 && short(tokens)}</td>
      <td class="number">{job.usage?.costUsd !== undefined && dollars(job.usage.costUsd)}</td>
      <td>{task.workers > 1 && <RetryJob task={task} job={job} reload={reload} />}</td>
    </tr>
  );
}

const APPROVALS: Record<string, string> = {
  all: 'do everything without asking',
  edits: 'edit files without asking',
  ask: 'do nothing that needs permission without asking',
  none: 'only read and plan',
};

function budget(task: Task): string | undefined {
  if (task.budget === undefined) return undefined;
  const { costUsd, tokens, turns, onBudget } = task.budget;
  const limits = [
    costUsd == null ? '' : dollars(costUsd),
    tokens == null ? '' : `${short(tokens)} tokens`,
    turns == null ? '' : counted(turns, 'turn'),
  ];
  const then = onBudget === 'fail' ? 'then it fails' : 'then a person is asked';
  return `${limits.filter((limit) => limit !== '').join(', ')}; ${then}`;
}

function facts(task: Task): [string, string][] {
  const known: [string, string | number | undefined][] = [
    [task.agents === undefined ? 'Agent' : 'Agents in turn', agents(task)],
    ['Picked', task.pickedJob === undefined ? undefined : `job ${task.pickedJob}`],
    ['Priority', task.priority],
    ['Retries', task.retries],
    ['When a job fails', task.onFailure === 'fail_fast' ? 'the others are cancelled' : 'the others go on'],
    ['Requires', task.requires.join(', ')],
    ['Network', task.network === 'none' ? 'none' : undefined],
    ['Time limit', task.timeoutSeconds === undefined ? undefined : duration(task.timeoutSeconds)],
    ['Environment', task.envNames.join(', ')],
    ['Setup', task.checks?.setup ?? undefined],
    ['Checks', task.checks?.commands.join('\n')],
    ['The agent may', task.approve === undefined ? undefined : APPROVALS[task.approve]],
    ['Budget of each job', budget(task)],
    ['Starts after', task.after?.join(', ')],
    ['Must start within', task.startWithinSeconds === undefined ? undefined : duration(task.startWithinSeconds)],
  ];
  return known.filter(([, value]) => value !== undefined && value !== '').map(([name, value]) => [name, String(value)]);
}
