-- What operators read; the tables stay free to change.

create view ado.worker_status as
select w.worker_id,
       case
           when w.stopped_at is not null then 'stopped'
           when w.last_heartbeat_at is null then 'starting'
           when w.last_heartbeat_at < now() - make_interval(secs => c.lease_seconds) then 'dead'
           when w.last_heartbeat_at < now() - make_interval(secs => c.suspect_seconds) then 'suspect'
           when w.draining then 'draining'
           when held.jobs > 0 then 'busy'
           else 'idle'
       end as state,
       w.capabilities, w.slots, held.jobs as running_jobs,
       w.slots - held.jobs as free_slots,
       w.cpu, w.cpu - held.cpu as free_cpu,
       w.memory, w.memory - held.memory as free_memory,
       w.gpu, w.gpu - held.gpu as free_gpu,
       w.labels, w.version, w.host, w.pid, w.backend, w.draining,
       w.requested_at, w.started_at, w.last_heartbeat_at, w.idle_since, w.clock_skew_seconds
from ado.workers w
cross join ado.control c
cross join lateral (
    select count(*)::integer as jobs, coalesce(sum(j.cpu), 0) as cpu,
           coalesce(sum(j.memory), 0)::bigint as memory, coalesce(sum(j.gpu), 0) as gpu
    from ado.jobs j where j.worker_id = w.worker_id and j.status = 'running'
) held;
comment on view ado.worker_status is 'Every worker with its state, derived from heartbeats and running jobs, and what it has left.';

create view ado.task_status as
select 'task-' || t.task_id as task, t.task_id, t.status, t.reason, t.message, t.agent, t.workers, t.priority, t.labels,
       left(t.prompt, 80) as prompt, n.queued, n.running, n.succeeded, n.failed, n.cancelled, l.last_seq,
       t.created_at, t.started_at, t.finished_at, t.cancel_requested_at
from ado.tasks t
left join ado.task_logs l using (task_id)
cross join lateral (
    select count(*) filter (where j.status = 'queued') as queued,
           count(*) filter (where j.status = 'running') as running,
           count(*) filter (where j.status = 'succeeded') as succeeded,
           count(*) filter (where j.status = 'failed') as failed,
           count(*) filter (where j.status = 'cancelled') as cancelled
    from ado.jobs j where j.task_id = t.task_id
) n;
comment on view ado.task_status is 'Every task with its status and how many of its jobs are where.';

create view ado.job_status as
select 'task-' || j.task_id || '/' || j.job as job_id, j.task_id, j.job, j.status, j.attempt, j.worker_id, j.needs,
       j.cpu, j.memory, j.gpu, j.priority, j.losses, j.failures, j.exit_code, j.reason, j.message, j.stop_reason,
       j.stop_requested_at, j.lease_expires_at, j.run_after, j.started_at, j.finished_at
from ado.jobs j;
comment on view ado.job_status is 'Every job with its attempt, worker and outcome.';

create view ado.queue_depth as
select j.needs, j.cpu, j.memory, j.gpu, count(*) as jobs, min(t.created_at) as oldest,
       count(*) filter (where j.run_after > now()) as waiting_to_retry
from ado.jobs j join ado.tasks t using (task_id)
where j.status = 'queued'
group by j.needs, j.cpu, j.memory, j.gpu;
comment on view ado.queue_depth is 'Queued jobs by what they need.';

create view ado.stream_latency as
select 'task-' || e.task_id as task, e.task_id, e.seq, e.job, e.attempt, j.worker_id, e.stored_at,
       greatest(0, extract(epoch from e.stored_at - e.at) - coalesce(w.clock_skew_seconds, 0)) * 1000 as milliseconds
from ado.events e
join ado.jobs j on j.task_id = e.task_id and j.job = e.job and j.attempt = e.attempt
left join ado.workers w on w.worker_id = j.worker_id
where e.type = 'output';
comment on view ado.stream_latency is 'Output events: from the agent''s write to the database, corrected by the clock skew of the worker.';

create view ado.why_pending as
with pending as (
    select j.*, row_number() over (order by j.task_id, j.job) as position
    from ado.jobs j where j.status = 'queued'
    order by j.task_id, j.job limit 100
)
select 'task-' || p.task_id || '/' || p.job as job_id, p.task_id, p.job, w.worker_id, w.state,
       case
           when p.run_after > now() then 'retry_delay'
           when w.worker_id is null then 'no_live_worker'
           when not p.needs <@ w.capabilities then 'capability'
           when w.state in ('suspect', 'draining', 'starting') then w.state
           when p.cpu > w.cpu or p.memory > w.memory or p.gpu > w.gpu then 'too_large'
           when w.free_slots < 1 then 'slots'
           when p.cpu > w.free_cpu or p.memory > w.free_memory or p.gpu > w.free_gpu then 'resources'
       end as unmet,
       case
           when p.run_after > now() then 'wait until ' || p.run_after
           when w.worker_id is null then 'start a worker that offers ' || array_to_string(p.needs, ', ')
           when not p.needs <@ w.capabilities then 'missing: ' || array_to_string(array(
               select unnest(p.needs) except select unnest(w.capabilities) order by 1), ', ')
           when w.state = 'suspect' then 'its last heartbeat was at ' || w.last_heartbeat_at
           when w.state = 'draining' then 'it takes no new jobs and will end'
           when w.state = 'starting' then 'it has not registered yet'
           when p.cpu > w.cpu or p.memory > w.memory or p.gpu > w.gpu then 'a larger worker is needed'
           when w.free_slots < 1 then 'all of its ' || w.slots || ' slots are taken'
           when p.cpu > w.free_cpu or p.memory > w.free_memory or p.gpu > w.free_gpu
               then 'its running jobs hold what this one needs'
           else 'nothing: it will be claimed'
       end as help
from pending p
left join ado.worker_status w on w.state not in ('dead', 'stopped')
order by p.position, w.worker_id;
comment on view ado.why_pending is 'The oldest 100 queued jobs against every live worker: the requirement that is not met, and what would help.';

create view ado.database_health as
select (select coalesce(extract(epoch from max(now() - a.xact_start)), 0) from pg_stat_activity a
        where a.datname = current_database() and a.pid <> pg_backend_pid()) as oldest_transaction_seconds,
       (select coalesce(max(age(a.backend_xmin)), 0) from pg_stat_activity a
        where a.datname = current_database()) as oldest_snapshot_age,
       (select extract(epoch from now() - c.last_tick_at) from ado.control c) as last_monitor_tick_seconds;
comment on view ado.database_health is 'What slows claims: an old transaction or snapshot; and whether a replica watches over leases.';

-- Roles belong to the whole server: another database of ours may have made them already, and a hosted Postgres may
-- not let us make any. Then an administrator grants the same by hand.
do $$
begin
    begin
        create role ado_api nologin;
    exception when duplicate_object or unique_violation then null;
        when insufficient_privilege then raise notice 'ado: may not create role ado_api';
    end;
    begin
        create role ado_readonly nologin;
    exception when duplicate_object or unique_violation then null;
        when insufficient_privilege then raise notice 'ado: may not create role ado_readonly';
    end;
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant usage on schema ado to ado_api;
        grant select, insert, update, delete on all tables in schema ado to ado_api;
        revoke insert, update, delete on ado.migrations, ado.log_ranges from ado_api;
        revoke update, delete on ado.events from ado_api;
        grant execute on function ado.extend_log(bigint) to ado_api;
    end if;
    if exists (select from pg_roles where rolname = 'ado_readonly') then
        grant usage on schema ado to ado_readonly;
        grant select on ado.worker_status, ado.task_status, ado.job_status, ado.queue_depth, ado.stream_latency,
            ado.why_pending, ado.database_health to ado_readonly;
    end if;
end $$;
revoke all on function ado.extend_log(bigint) from public;
