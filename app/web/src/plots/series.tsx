/** How the installation has worked: queue, throughput, latency and cost as plots. */

import { useEffect, useMemo, useState } from 'preact/hooks';
import { useApi } from '../context.tsx';
import { dollars, short } from '../format/numbers.ts';
import { useLoad } from '../load.ts';
import { Empty, Problem } from '../parts/basics.tsx';
import type { Outputs } from '../types.ts';
import { type Curve, Plot } from './plot.tsx';

type Item = Outputs['stats']['series']['items'][number];

const SPANS: [number, string][] = [
  [1, '1 hour'],
  [6, '6 hours'],
  [24, '1 day'],
  [336, '14 days'],
];
/** A new sample comes once a minute. */
const AGAIN_MS = 60_000;
const milliseconds = (value: number) => (value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`);
const count = (value: number) => (Number.isInteger(value) ? short(value) : '');

export function Series() {
  const api = useApi();
  const [hours, setHours] = useState(24);
  const loaded = useLoad(() => api.stats.series.query({ hours }), [hours]);
  const { reload } = loaded;
  useEffect(() => {
    const timer = setInterval(reload, AGAIN_MS);
    return () => clearInterval(timer);
  }, [reload]);
  const items = loaded.data?.items;
  const plots = useMemo(() => {
    if (items === undefined) return undefined;
    const curve = (label: string, colour: string, of: (item: Item) => number | undefined): Curve => ({
      label,
      colour,
      values: items.map((item) => of(item) ?? null),
    });
    return {
      times: items.map((item) => Date.parse(item.at) / 1000),
      queue: [
        curve('queued', '--warn', (item) => item.queued),
        curve('running', '--accent', (item) => item.running),
        curve('workers', '--good', (item) => item.workers),
      ],
      ended: [
        curve('succeeded', '--good', (item) => item.succeeded),
        curve('failed', '--bad', (item) => item.failed),
        curve('cancelled', '--faint', (item) => item.cancelled),
      ],
      latency: [
        curve('p50', '--accent', (item) => item.latencyP50Ms),
        curve('p99', '--ask', (item) => item.latencyP99Ms),
      ],
      cost: [curve('cost', '--good', (item) => item.costUsd)],
    };
  }, [items]);
  return (
    <section aria-label="History">
      <div class="page-head section-head">
        <h2>History</h2>
        <fieldset class="segments">
          <legend class="unseen">Span</legend>
          {SPANS.map(([span, name]) => (
            <label key={span} class={hours === span ? 'on' : ''}>
              <input type="radio" name="span" class="unseen" checked={hours === span} onChange={() => setHours(span)} />
              {name}
            </label>
          ))}
        </fieldset>
      </div>
      <Problem failure={loaded.failure} />
      {items?.length === 0 && <Empty title="No samples yet">The first one comes within a minute.</Empty>}
      {plots !== undefined && plots.times.length > 0 && (
        <div class="plots">
          <Plot title="Jobs and workers" times={plots.times} curves={plots.queue} format={count} />
          <Plot title="Tasks that ended" times={plots.times} curves={plots.ended} format={count} />
          <Plot title="Latency of output" times={plots.times} curves={plots.latency} format={milliseconds} />
          <Plot title="Cost" times={plots.times} curves={plots.cost} format={dollars} />
        </div>
      )}
    </section>
  );
}
