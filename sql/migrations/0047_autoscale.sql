-- oldest: 26
-- Within which limits spawners keep workers, by capability.

create table ado.autoscale (
    capability       text primary key,
    minimum          integer not null check (minimum >= 0),
    maximum          integer not null check (maximum >= minimum),
    target_queue     integer not null check (target_queue >= 0),
    cooldown_seconds double precision not null check (cooldown_seconds >= 0),
    surplus_since    timestamptz,
    surplus_peak     integer,
    check ((surplus_since is null) = (surplus_peak is null))
);
comment on table ado.autoscale is 'Within which limits the spawners, all together, keep workers. The last two columns are theirs.';
comment on column ado.autoscale.capability is 'What the workers are for; empty: all workers that spawners start.';
comment on column ado.autoscale.minimum is 'How many are kept even when the queue is empty.';
comment on column ado.autoscale.maximum is 'How many there are at most.';
comment on column ado.autoscale.target_queue is 'How many queued jobs per worker are left waiting before another worker is started.';
comment on column ado.autoscale.cooldown_seconds is 'For how long there are more workers than are needed before idle ones are retired, and again after that.';
comment on column ado.autoscale.surplus_since is 'Since when there have been more than are needed, or since the last ones were retired; null: there are not.';
comment on column ado.autoscale.surplus_peak is 'The most that were needed since then: so many stay.';

create view ado.autoscale_status as
with fleet as materialized (
    select coalesce(p.capabilities, w.capabilities) as made_for,
           w.state = 'draining' or coalesce(p.state = 'ending', false) as leaves,
           w.state in ('starting', 'idle', 'busy') and (p.name is null or p.task_id is null and p.state <> 'ending') as ready,
           w.state = 'busy' and p.name is null as busy
    from ado.worker_status w left join ado.pods p on p.name = w.worker_id
    where w.backend is not null
      and case when p.name is null then w.state not in ('dead', 'stopped') else p.state <> 'ended' end
)
select a.capability, a.minimum, a.maximum, a.target_queue, a.cooldown_seconds, f.workers, f.leaving, f.ready, f.busy,
       a.surplus_since, a.surplus_peak
from ado.autoscale a
cross join lateral (
    select count(*)::integer as workers, (count(*) filter (where leaves))::integer as leaving,
           (count(*) filter (where ready and not leaves))::integer as ready, (count(*) filter (where busy))::integer as busy
    from fleet where a.capability = '' or a.capability = any(fleet.made_for)
) f;
comment on view ado.autoscale_status is 'The ranges of ado workers autoscale, with the workers that spawners have started. A process counts for everything that it offers, a pod for what its job needs.';
comment on column ado.autoscale_status.capability is 'What the workers are for; empty: all workers that spawners start.';
comment on column ado.autoscale_status.minimum is 'How many are kept even when the queue is empty.';
comment on column ado.autoscale_status.maximum is 'How many there are at most.';
comment on column ado.autoscale_status.target_queue is 'How many queued jobs per worker are left waiting before another worker is started.';
comment on column ado.autoscale_status.cooldown_seconds is 'For how long there are more workers than are needed before idle ones are retired, and again after that.';
comment on column ado.autoscale_status.workers is 'How many there are: starting, running or ending. The maximum holds for these.';
comment on column ado.autoscale_status.leaving is 'How many of them take no more jobs and end.';
comment on column ado.autoscale_status.ready is 'How many of them take any job that they can run, now or after theirs. The minimum holds for these; the pod of one job is none of them.';
comment on column ado.autoscale_status.busy is 'How many of the ready ones have a job.';
comment on column ado.autoscale_status.surplus_since is 'Since when more have been ready than are needed, or since the last ones were retired; null: they are not.';
comment on column ado.autoscale_status.surplus_peak is 'The most that were needed since then: so many stay.';

-- Jobs that a range has no worker for are passed over: they would hide what waits behind them.
drop function ado.podless_jobs(text[], integer);
create function ado.podless_jobs(offered text[], most integer, closed text[] default '{}')
    returns table (task_id bigint, job integer, needs text[], cpu double precision, memory bigint, gpu double precision)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
begin
    return query
    select q.task_id, q.job, q.needs, q.cpu, q.memory, q.gpu
    from (
        select h.task_id, h.job, h.priority, g.needs, g.cpu, g.memory, g.gpu, g.user_id,
               row_number() over (partition by g.user_id, h.priority order by h.task_id, h.job) as turn,
               row_number() over (partition by g.user_id order by h.priority desc, h.task_id, h.job) as position
        from ado.queue_groups(offered, null, null, null) g
        cross join lateral (
            select j.task_id, j.job, j.priority from ado.jobs j
            where j.status = 'queued' and j.demand = g.demand and j.user_id = g.user_id and j.run_after <= now()
              and not exists (select from ado.pods p
                              where p.task_id = j.task_id and p.job = j.job and p.state in ('wanted', 'placed'))
            order by j.priority desc, j.task_id, j.job limit most
        ) h
        where not g.needs && closed
    ) q
    left join ado.user_room r on r.user_id = q.user_id
    where r.room is null or q.position <= r.room - (
        select count(*) from ado.pods p join ado.jobs j on j.task_id = p.task_id and j.job = p.job
        where p.state in ('wanted', 'placed') and j.status = 'queued' and j.user_id = q.user_id)
    order by q.priority desc, q.turn, q.task_id, q.job limit most;
end $$;
comment on function ado.podless_jobs(text[], integer, text[]) is 'The best queued jobs that need no more than is offered and nothing that is closed, and that have no pod.';
revoke all on function ado.podless_jobs(text[], integer, text[]) from public;

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select, insert, update, delete on ado.autoscale to ado_api;
        grant select on ado.autoscale_status to ado_api;
        grant execute on function ado.podless_jobs(text[], integer, text[]) to ado_api;
    end if;
    if exists (select from pg_roles where rolname = 'ado_readonly') then
        grant select on ado.autoscale_status to ado_readonly;
    end if;
end $$;
