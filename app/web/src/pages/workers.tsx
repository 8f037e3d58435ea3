/** The workers: live, with what they run, and what waits for one. */

import { useEffect, useState } from 'preact/hooks';
import { failureOf } from '../api.ts';
import { useApi, useApp, useMay } from '../context.tsx';
import { bytes } from '../format/numbers.ts';
import { counted } from '../format/text.ts';
import { useChanges, useLoad } from '../load.ts';
import { Ago, Empty, Foreign, Link, Loading, Problem, Status } from '../parts/basics.tsx';
import type { Outputs, Worker } from '../types.ts';

const HEARTBEATS_MS = 5000;
type Pool = Outputs['workers']['status'];

export function WorkersPage() {
  const api = useApi();
  const loaded = useLoad(() => api.workers.status.query(), []);
  const { reload } = loaded;
  useChanges(reload);
  useEffect(() => {
    const timer = setInterval(reload, HEARTBEATS_MS);
    return () => clearInterval(timer);
  }, [reload]);
  const pool = loaded.data;
  return (
    <>
      <div class="page-head">
        <h1>Workers</h1>
        {pool && <span class="faint">{summary(pool)}</span>}
      </div>
      <Problem failure={loaded.failure} />
      {pool === undefined && loaded.loading && <Loading />}
      {pool && <Waiting pool={pool} />}
      {pool && <Spawners pool={pool} />}
      {pool && <UnhealthyAgents pool={pool} reload={reload} />}
      {pool?.workers.length === 0 && (
        <Empty title="No workers">
          <p>A spawner starts them when there is work. To run one yourself:</p>
          <pre>ado worker --url {location.origin} --token-file FILE</pre>
        </Empty>
      )}
      {pool && pool.workers.length > 0 && (
        <div class="scroll">
          <table class="rows">
            <thead>
              <tr>
                <th>State</th>
                <th>Worker</th>
                <th>Runs</th>
                <th>Offers</th>
                <th class="number wide">Free</th>
                <th class="wide">Version</th>
                <th class="wide">Host</th>
                <th class="number">Heartbeat</th>
                <th>
                  <span class="unseen">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {pool.workers.map((worker) => (
                <Row key={worker.workerId} worker={worker} reload={reload} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}

function summary(pool: Pool): string {
  const states = Object.entries(pool.counts).filter(([, count]) => count > 0);
  const words = states.map(([state, count]) => `${count} ${state}`);
  return [
    ...words,
    `${counted(pool.queue.running, 'job')} running`,
    `${pool.queue.queued} queued`,
    `${pool.queue.paused} paused`,
  ].join(' · ');
}

function Waiting({ pool }: { pool: Pool }) {
  if (pool.queue.waiting.length === 0) return null;
  return (
    <ul class="cards" aria-label="Waiting jobs">
      {pool.queue.waiting.map((waiting) => (
        <li class="card" key={waiting.needs.join(' ')}>
          <Status of="queued" />
          <span>
            {counted(waiting.jobs, 'job')} {waiting.jobs === 1 ? 'needs' : 'need'} {waiting.needs.join(', ')}
          </span>
        </li>
      ))}
    </ul>
  );
}

function Spawners({ pool }: { pool: Pool }) {
  const troubled = pool.spawners.filter((spawner) => spawner.problem !== undefined || spawner.state !== 'running');
  if (troubled.length === 0) return null;
  return (
    <ul class="cards" aria-label="Spawners with problems">
      {troubled.map((spawner) => (
        <li class="card" key={spawner.spawnerId}>
          <Status of="suspect" />
          <span>
            spawner {spawner.spawnerId} ({spawner.backend}) on <Foreign text={spawner.host} />:{' '}
            <Foreign text={spawner.problem ?? 'it is silent'} />
          </span>
        </li>
      ))}
    </ul>
  );
}

function UnhealthyAgents({ pool, reload }: { pool: Pool; reload(): void }) {
  if (pool.unhealthyAgents.length === 0) return null;
  return (
    <ul class="cards" aria-label="Unhealthy agents">
      {pool.unhealthyAgents.map((one) => (
        <li class="card" key={one.agent}>
          <Status of="suspect" />
          <Foreign text={one.why} />
          <Reset agent={one.agent} reload={reload} />
        </li>
      ))}
    </ul>
  );
}

function Reset({ agent, reload }: { agent: string; reload(): void }) {
  const api = useApi();
  const { say } = useApp();
  const may = useMay();
  if (!may.operate) return null;
  const reset = async () => {
    try {
      await api.workers.resetAgent.mutate({ agent });
      say(`The jobs of ${agent} go on.`);
    } catch (error) {
      say(failureOf(error).message, 'bad');
    }
    reload();
  };
  return (
    <button type="button" onClick={reset} aria-label={`Let the jobs of ${agent} go on`}>
      Reset
    </button>
  );
}

function Row({ worker, reload }: { worker: Worker; reload(): void }) {
  return (
    <tr>
      <td>
        <Status of={worker.state} />
      </td>
      <td>
        <Foreign text={worker.workerId} />
        {worker.problem && (
          <div class="why">
            <Foreign text={worker.problem} />
          </div>
        )}
      </td>
      <td class="runs">
        {worker.jobs.map((job) => (
          <Link key={job.jobId} class="job-link" href={jobAddress(job.jobId)}>
            {job.jobId}
          </Link>
        ))}
        <span class="faint">
          {worker.jobs.length}/{worker.slots}
        </span>
      </td>
      <td class="wrap">
        <span class="labels">
          {worker.capabilities.map((name) => (
            <span class="label" key={name}>
              <Foreign text={name} />
            </span>
          ))}
        </span>
      </td>
      <td class="number wide">{free(worker)}</td>
      <td class="wide">{worker.version}</td>
      <td class="wide">{worker.host && <Foreign text={worker.host} />}</td>
      <td class="number">
        <Ago time={worker.lastHeartbeatAt} />
      </td>
      <td>
        <Drain worker={worker} reload={reload} />
      </td>
    </tr>
  );
}

function Drain({ worker, reload }: { worker: Worker; reload(): void }) {
  const api = useApi();
  const { say } = useApp();
  const may = useMay();
  const [busy, setBusy] = useState(false);
  if (!may.operate || !['idle', 'busy', 'starting', 'suspect'].includes(worker.state)) return null;
  const drain = async () => {
    setBusy(true);
    try {
      await api.workers.drain.mutate({ workerId: worker.workerId });
      say(`${worker.workerId} takes no new jobs, and ends after its running ones.`);
    } catch (error) {
      say(failureOf(error).message, 'bad');
    }
    setBusy(false);
    reload();
  };
  return (
    <button type="button" disabled={busy} onClick={drain} aria-label={`Drain ${worker.workerId}`}>
      Drain
    </button>
  );
}

function free(worker: Worker): string {
  const { cpu, memory, gpu } = worker.free;
  const parts = [cpu > 0 ? `${cpu} CPU` : '', memory > 0 ? bytes(memory) : '', gpu > 0 ? `${gpu} GPU` : ''];
  return parts.filter((part) => part !== '').join(' · ');
}

/** Return where the log of a job `task-1/2` is. */
function jobAddress(jobId: string): string {
  const [task, job] = jobId.split('/');
  return `/tasks/${task}#job=${job}`;
}
