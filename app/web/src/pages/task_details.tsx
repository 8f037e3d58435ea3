/** Everything else that is known of a task: the whole prompt, and a row for each job. */

import { useNow } from '../context.tsx';
import { dollars, short } from '../format/numbers.ts';
import { agents, visible } from '../format/text.ts';
import { duration, elapsed } from '../format/time.ts';
import { words } from '../log/notes.ts';
import { Foreign, Status } from '../parts/basics.tsx';
import type { Job, Task } from '../types.ts';

export function TaskDetails({ task }: { task: Task }) {
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
            </tr>
          </thead>
          <tbody>
            {task.jobs.map((job) => (
              <JobRow key={job.job} job={job} />
            ))}
          </tbody>
        </table>
      </div>
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

function JobRow({ job }: { job: Job }) {
  const now = useNow();
  const tokens = (job.usage?.inputTokens ?? 0) + (job.usage?.outputTokens ?? 0);
  return (
    <tr>
      <td>{job.job}</td>
      <td>{job.agent}</td>
      <td>
        <Status of={job.status} />
      </td>
      <td class="number">{job.attempt}</td>
      <td>{job.workerId && <Foreign text={job.workerId} />}</td>
      <td class="number">{job.exitCode}</td>
      <td>
        <Foreign text={[job.reason && words(job.reason), job.message].filter(Boolean).join(': ')} />
      </td>
      <td class="number">{job.startedAt && duration(elapsed(job.startedAt, job.finishedAt, now))}</td>
      <td class="number">{tokens > 0 && short(tokens)}</td>
      <td class="number">{job.usage?.costUsd !== undefined && dollars(job.usage.costUsd)}</td>
    </tr>
  );
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
  ];
  return known.filter(([, value]) => value !== undefined && value !== '').map(([name, value]) => [name, String(value)]);
}
