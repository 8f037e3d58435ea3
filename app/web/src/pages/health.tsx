/** Whether the installation works, and how it has worked over the last day. */

import { useEffect, useState } from 'preact/hooks';
import { failureOf } from '../api.ts';
import { useApi, useApp, useMay } from '../context.tsx';
import { visible } from '../format/text.ts';
import { useLoad } from '../load.ts';
import { Ago, Foreign, Loading, Problem, Status } from '../parts/basics.tsx';
import { Series } from '../plots/series.tsx';
import type { Outputs } from '../types.ts';

const AGAIN_MS = 10_000;

export function HealthPage() {
  const api = useApi();
  const loaded = useLoad(() => Promise.all([api.system.health.query(), api.workers.status.query()]), []);
  const { reload } = loaded;
  useEffect(() => {
    const timer = setInterval(reload, AGAIN_MS);
    return () => clearInterval(timer);
  }, [reload]);
  const [health, pool] = loaded.data ?? [undefined, undefined];
  return (
    <>
      <div class="page-head">
        <h1>Health</h1>
        {health && <Verdict health={health} />}
        <span class="grow" />
        <Measure />
      </div>
      <Problem failure={loaded.failure} />
      {health === undefined && loaded.loading && <Loading />}
      {health && <Problems health={health} />}
      {pool && (
        <dl class="tiles">
          <Tile name="Queued jobs" value={pool.queue.queued} />
          <Tile name="Running jobs" value={pool.queue.running} />
          {Object.entries(pool.counts).map(([state, count]) => (
            <Tile key={state} name={`Workers ${state}`} value={count} />
          ))}
          <Tile name="Spawners" value={pool.spawners.filter((spawner) => spawner.state === 'running').length} />
        </dl>
      )}
      <Series />
    </>
  );
}

type Health = Outputs['system']['health'];

function Verdict({ health }: { health: Health }) {
  if (Object.keys(health.problems).length > 0) return <Status of="failed" />;
  return <span class="status status-succeeded">✓ no problems</span>;
}

function Problems({ health }: { health: Health }) {
  const problems = [...Object.entries(health.problems), ...Object.entries(health.warnings)];
  return (
    <ul class="cards">
      {problems.map(([name, text]) => (
        <li class="card" key={name}>
          <Status of={name in health.problems ? 'failed' : 'suspect'} />
          <span>
            {name}: <Foreign text={text} />
          </span>
        </li>
      ))}
      {health.blockers.map((blocker) => (
        <li class="card" key={blocker.pid}>
          <Status of="suspect" />
          <span>
            database session {blocker.pid} blocks {blocker.blocked} others since <Ago time={blocker.waitingSince} />{' '}
            {visible([blocker.role, blocker.application, blocker.state].filter(Boolean).join(', '))}
          </span>
        </li>
      ))}
    </ul>
  );
}

function Tile({ name, value }: { name: string; value: string | number }) {
  return (
    <div class="tile">
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

/** Measures the database from the replica that answers. */
function Measure() {
  const api = useApi();
  const { say } = useApp();
  const may = useMay();
  const [busy, setBusy] = useState(false);
  if (!may.tasks) return null;
  const measure = async () => {
    setBusy(true);
    try {
      const found = await api.system.measure.mutate();
      const notify = found.notifyMs === undefined ? '' : `, notification ${found.notifyMs.toFixed(1)} ms`;
      say(`commit ${found.commitMs.toFixed(1)} ms${notify}`);
    } catch (error) {
      say(failureOf(error).message, 'bad');
    }
    setBusy(false);
  };
  return (
    <button type="button" disabled={busy} onClick={measure}>
      Measure latency
    </button>
  );
}
