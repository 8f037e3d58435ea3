/** The workers: live, with what they run, and what waits for one. */

import { useEffect, useState } from 'preact/hooks';
import { failureOf } from '../api.ts';
import { useApi, useApp, useMay } from '../context.tsx';
import { bytes } from '../format/numbers.ts';
import { counted, visible } from '../format/text.ts';
import { useChanges, useLoad } from '../load.ts';
import { useAction } from '../parts/action.ts';
import { Ago, Empty, Foreign, Link, Loading, Problem, Status } from '../parts/basics.tsx';
import type { Outputs, Worker } from '../types.ts';
import { Pods } from './pods.tsx';

const HEARTBEATS_MS = 5000;
type Pool = Outputs['workers']['status'];

export function WorkersPage() {
  const api = useApi();
  const loaded = useLoad(() => api.workers.status.query(), []);
  const { reload } = loaded;
  const [turn, setTurn] = useState(0);
  useChanges(reload);
  useEffect(() => {
    const again = () => {
      reload();
      setTurn((value) => value + 1);
    };
    const timer = setInterval(again, HEARTBEATS_MS);
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
      {pool && <Pods queued={pool.queue.queued} turn={turn} />}
      {pool && <Spawners pool={pool} />}
      {pool && <UnhealthyAgents pool={pool} reload={reload} />}
      {pool && <Ranges pool={pool} reload={reload} />}
      {pool?.workers.length === 0 && (
        <Empty title="No workers">
          <p>A spawner starts them when there is work. To run one yourself:</p>
          <pre>ado worker --url {location.origin} --token-file FILE</pre>
        </Empty>
      )}
      {pool && pool.workers.length > 0 && (
        <div class="scroll">
          <table class="rows workers">
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
  const shown = pool.queue.waiting.reduce((sum, { jobs }) => sum + jobs, 0);
  const least = shown < pool.queue.queued ? 'at least ' : ''; // the server counts only so many
  return (
    <ul class="cards" aria-label="Waiting jobs">
      {pool.queue.waiting.map((waiting) => (
        <li class="card" key={waiting.needs.join(' ')}>
          <Status of="queued" />
          <span>
            {least}
            {counted(waiting.jobs, 'job')} {waiting.jobs === 1 ? 'needs' : 'need'}{' '}
            <Foreign text={waiting.needs.join(', ')} />
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

/** Within which limits spawners keep workers. */
function Ranges({ pool, reload }: { pool: Pool; reload(): void }) {
  const may = useMay();
  const [changing, setChanging] = useState<string | null>(null);
  if (pool.autoscale.length === 0) return null;
  return (
    <ul class="cards" aria-label="Ranges of workers">
      {pool.autoscale.map((range) => {
        const name = range.capability ?? '';
        return (
          <li class="card" key={name}>
            <strong>{name === '' ? 'all workers' : <Foreign text={name} />}</strong>
            <span>
              {range.workers} of {range.min} to {range.max}
            </span>
            <span class="faint">{rangeWords(range)}</span>
            <span class="grow" />
            {may.operate && (
              <button
                type="button"
                aria-expanded={changing === name}
                aria-label={`Change the range of ${name === '' ? 'all workers' : visible(name)}`}
                onClick={() => setChanging(changing === name ? null : name)}
              >
                Change
              </button>
            )}
            {changing === name && <ChangeRange range={range} close={() => setChanging(null)} reload={reload} />}
          </li>
        );
      })}
    </ul>
  );
}

type Range = Pool['autoscale'][number];

function rangeWords(range: Range): string {
  const more =
    range.targetQueue === 0 ? 'one for each job that waits' : `more when over ${range.targetQueue} queued per worker`;
  return `${more}; fewer after ${range.cooldownSeconds} s of surplus`;
}

function ChangeRange({ range, close, reload }: { range: Range; close(): void; reload(): void }) {
  const api = useApi();
  const [least, setLeast] = useState(String(range.min));
  const [most, setMost] = useState(String(range.max));
  const [busy, act] = useAction(reload);
  const capability = range.capability ?? '';
  return (
    <form
      class="composer range"
      onSubmit={async (event) => {
        event.preventDefault();
        const limits = { capability, min: Number(least), max: Number(most) };
        if (await act(() => api.workers.autoscale.mutate(limits), 'Spawners keep to it from their next step on.'))
          close();
      }}
    >
      <label>
        from <input type="number" min={0} value={least} onInput={(event) => setLeast(event.currentTarget.value)} />
      </label>
      <label>
        to <input type="number" min={0} value={most} onInput={(event) => setMost(event.currentTarget.value)} />
      </label>
      <button type="submit" class="primary" disabled={busy}>
        Save
      </button>
      <button
        type="button"
        class="danger"
        disabled={busy}
        onClick={async () => {
          const call = () => api.workers.autoscaleRemove.mutate({ capability });
          if (await act(call, 'The range is removed; the settings of spawners hold.')) close();
        }}
      >
        Remove
      </button>
    </form>
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
      <td class="wrap" title={worker.capabilities.join('\n')}>
        <span class="labels">
          {worker.capabilities.filter(isOfInterest).map((name) => (
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

/** What every worker of this release offers says nothing about one of them. */
function isOfInterest(capability: string): boolean {
  return !/^(approve:|budget:limits$|checks:commands$|input:stdin$|workspace:)/.test(capability);
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
