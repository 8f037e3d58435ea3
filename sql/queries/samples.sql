-- name: take_sample :optional
-- The row of this minute, unless a replica has written it. The counts are not read where it is there. The latency is
-- that of the last minute's output of the newest and the running tasks, the last 50 events of each.
insert into ado.samples (at, queued, running, paused, workers, succeeded, failed, cancelled, cost_usd,
    latency_p50_ms, latency_p99_ms)
select date_trunc('minute', now()), s.*
from (select) as minute
cross join lateral (
    with counted as (
        select t.measure, t.kind, t.count, t.amount from ado.metric_totals t where t.measure in ('finished', 'cost')
        union all
        select n.measure, n.kind, 1, n.amount from ado.metric_notes n where n.measure in ('finished', 'cost')
    ), sampled as (
        (select t.task_id from ado.tasks t order by t.task_id desc limit 50)
        union
        (select j.task_id from ado.jobs j where j.status = 'running' order by j.task_id desc limit 50)
    ), output as (
        select greatest(0, extract(epoch from e.stored_at - e.at) - coalesce(w.clock_skew_seconds, 0)) * 1000 as ms
        from sampled p
        join ado.task_logs l using (task_id)
        cross join lateral (
            select v.job, v.attempt, v.at, v.stored_at from ado.events v
            where v.task_id = p.task_id and v.seq > l.last_seq - 50 and v.type = 'output'
              and v.stored_at > now() - interval '1 minute'
        ) e
        join ado.jobs j on j.task_id = p.task_id and j.job = e.job and j.attempt = e.attempt
        left join ado.workers w on w.worker_id = j.worker_id
    )
    select o.open - o.running - o.paused, o.running, o.paused,
           (select count(*) from ado.worker_status w where w.stopped_at is null and w.state in ('idle', 'busy')),
           (select coalesce(sum(c.count), 0) from counted c where c.measure = 'finished' and c.kind = 'succeeded'),
           (select coalesce(sum(c.count), 0) from counted c where c.measure = 'finished' and c.kind = 'failed'),
           (select coalesce(sum(c.count), 0) from counted c where c.measure = 'finished' and c.kind = 'cancelled'),
           (select coalesce(sum(c.amount), 0) from counted c where c.measure = 'cost'),
           (select percentile_cont(0.5) within group (order by o.ms) from output o),
           (select percentile_cont(0.99) within group (order by o.ms) from output o)
    from (
        select (select count(*) from ado.jobs j where j.status in ('queued', 'running', 'paused')) as open,
               (select count(*) from ado.jobs j where j.status = 'running') as running,
               (select count(*) from ado.jobs j where j.status = 'paused') as paused
    ) o
) s
where not exists (select from ado.samples d where d.at = date_trunc('minute', now()))
on conflict (at) do nothing
returning at;

-- name: prune_samples :many
delete from ado.samples where at < now() - interval '14 days' returning at;

-- name: list_samples :many
-- Samples since a time, in steps of some seconds. Counts of jobs and workers are the highest of a step. Tasks and cost
-- are what was added in it: the difference to the sample before, however long ago that was.
select date_bin(make_interval(secs => :step::double precision), d.at, timestamptz 'epoch') as at,
       max(d.queued) as queued, max(d.running) as running, max(d.paused) as paused, max(d.workers) as workers,
       sum(d.succeeded)::bigint as succeeded, sum(d.failed)::bigint as failed, sum(d.cancelled)::bigint as cancelled,
       sum(d.cost_usd)::double precision as cost_usd,
       max(d.latency_p50_ms) as latency_p50_ms, max(d.latency_p99_ms) as latency_p99_ms
from (
    select s.at, s.queued, s.running, s.paused, s.workers, s.latency_p50_ms, s.latency_p99_ms,
           coalesce(s.succeeded - lag(s.succeeded) over earlier, 0) as succeeded,
           coalesce(s.failed - lag(s.failed) over earlier, 0) as failed,
           coalesce(s.cancelled - lag(s.cancelled) over earlier, 0) as cancelled,
           coalesce(s.cost_usd - lag(s.cost_usd) over earlier, 0) as cost_usd
    from ado.samples s
    where s.at >= coalesce((select max(b.at) from ado.samples b where b.at < :since::timestamptz), :since::timestamptz)
    window earlier as (order by s.at)
) d
where d.at >= :since::timestamptz
group by 1 order by 1;
