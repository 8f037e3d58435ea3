-- oldest: 26
-- Indexes with which nothing that is read often grows with what has ended. Existing rows are indexed here, some seconds
-- for a million tasks, while changes of tasks wait.

-- A list of tasks by creator or agent reads each status in the order of ids, as a list by status alone does.
drop index ado.tasks_created_by_idx;
create index tasks_created_by_idx on ado.tasks (created_by, status, task_id) where created_by is not null;
create index tasks_agent_idx on ado.tasks (agent, status, task_id);
create index tasks_agents_idx on ado.tasks (status, task_id) where agents is not null;
-- Which tasks failed lately.
create index tasks_failed_idx on ado.tasks (finished_at) where status = 'failed';

-- A job is in one of these only if something rare happened to it, so they cost a claim or an append nothing.
create index jobs_lost_idx on ado.jobs (losses) where losses > 0;
create index jobs_cut_idx on ado.jobs (dropped_bytes) where dropped_bytes > 0;
create index jobs_paused_idx on ado.jobs (task_id) where status = 'paused';

-- Usage is asked for by day.
drop index ado.attempt_usage_at_idx;
create index attempt_usage_day_idx on ado.attempt_usage (((at at time zone 'UTC')::date));

-- Who did what in the audit of a year.
create index audit_user_idx on ado.audit (user_id, at, audit_id) where user_id is not null;
create index audit_token_idx on ado.audit (token_id, at, audit_id) where token_id is not null;

-- A day leaves thousands of workers that have stopped, where each pod is one. A heartbeat changes neither index.
create index workers_live_idx on ado.workers (worker_id) where stopped_at is null;
create index workers_stopped_idx on ado.workers (stopped_at) where stopped_at is not null;
-- Of what is deleted once its time is over, only what is still there.
create index files_checkpoints_idx on ado.files (task_id, job) where kind = 'checkpoint';
create index task_environments_kept_idx on ado.task_environments (task_id) where forgotten_at is null;

create or replace view ado.worker_status as
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
       w.requested_at, w.started_at, w.last_heartbeat_at, w.idle_since, w.clock_skew_seconds, w.stopped_at
from ado.workers w
cross join ado.control c
cross join lateral (
    select count(*)::integer as jobs, coalesce(sum(j.cpu), 0) as cpu,
           coalesce(sum(j.memory), 0)::bigint as memory, coalesce(sum(j.gpu), 0) as gpu
    from ado.jobs j where j.worker_id = w.worker_id and j.status = 'running'
) held;
comment on column ado.worker_status.stopped_at is 'When it reported its end, or its spawner saw it; null: it has not stopped.';

-- As before, but it looks only at workers that have not stopped.
create or replace view ado.obstacles as
with live as materialized (  -- counted once, however many jobs are asked for
    select * from ado.worker_status where stopped_at is null and state <> 'dead'
)
select j.task_id, j.job, w.worker_id, w.state, w.capabilities, n.unmet,
       coalesce(n.help, 'nothing: it will be claimed') as help
from ado.jobs j
left join lateral (
    select o.name, o.reason, o.message from ado.pods o
    where o.task_id = j.task_id and o.job = j.job and o.state in ('wanted', 'placed') and o.claimed_at is null limit 1
) o on true
left join ado.user_room u on u.user_id = j.user_id
left join lateral (
    select min(format('%s (next: see why its jobs failed, correct that where the workers run, then ado workers reset %s)',
                      h.why, h.agent)) as why
    from ado.unhealthy_agents h where ado.needs_one_of(j.needs, array[h.agent])
) a on true
left join live w on true
cross join lateral (
    select ado.lacks(j.needs, j.cpu, j.memory, j.gpu, w.capabilities, w.cpu, w.memory, w.gpu) as ever,
           ado.lacks(j.needs, j.cpu, j.memory, j.gpu, w.capabilities, w.free_cpu, w.free_memory, w.free_gpu) as now
    offset 0  -- asked once for each row, not once for each use
) l
cross join lateral (
    select (array_agg(r.unmet order by r.place))[1] as unmet, string_agg(r.help, '; ' order by r.place) as help
    from (values
        (1, j.run_after > now(), 'retry_delay', 'wait until ' || j.run_after),
        (2, u.room = 0, 'quota', u.waits_for),
        (3, a.why is not null, 'agent_unhealthy', a.why),
        (4, o.reason is not null, o.reason, format('its pod %s cannot run yet: %s', o.name, o.message)),
        (5, w.worker_id is null, 'no_live_worker', 'start a worker that offers ' || array_to_string(j.needs, ', ')),
        (6, 'capability' = any(l.ever), 'capability', 'missing: ' || array_to_string(array(
            select unnest(j.needs) except select unnest(w.capabilities) order by 1), ', ')),
        (7, w.state = 'suspect', 'suspect', 'its last heartbeat was at ' || w.last_heartbeat_at),
        (8, w.state = 'draining', 'draining', 'it takes no new jobs and will end'),
        (9, w.state = 'starting' and (o.reason is null or o.name <> w.worker_id), 'starting',
            'it has not registered yet'),
        (10, 'cpu' = any(l.ever), 'too_large',
            format('a larger worker is needed, cpu: %s asked, %s there', j.cpu, w.cpu)),
        (11, 'memory' = any(l.ever), 'too_large',
            format('a larger worker is needed, memory: %s asked, %s there', j.memory, w.memory)),
        (12, 'gpu' = any(l.ever), 'too_large',
            format('a larger worker is needed, gpu: %s asked, %s there', j.gpu, w.gpu)),
        (13, w.free_slots < 1, 'slots', 'all of its ' || w.slots || ' slots are taken'),
        (14, 'cpu' = any(l.now) and not 'cpu' = any(l.ever), 'resources',
            format('its running jobs hold what this one needs, cpu: %s asked, %s free', j.cpu, w.free_cpu)),
        (15, 'memory' = any(l.now) and not 'memory' = any(l.ever), 'resources',
            format('its running jobs hold what this one needs, memory: %s asked, %s free', j.memory, w.free_memory)),
        (16, 'gpu' = any(l.now) and not 'gpu' = any(l.ever), 'resources',
            format('its running jobs hold what this one needs, gpu: %s asked, %s free', j.gpu, w.free_gpu))
    ) r(place, holds, unmet, help)
    where r.holds
) n
where j.status = 'queued';

-- The oldest job of a group is that of the lowest task: its creation is read for each group, not for each job.
create or replace view ado.queue_depth as
select g.needs, g.cpu, g.memory, g.gpu, g.jobs, t.created_at as oldest, g.waiting_to_retry
from (
    select j.needs, j.cpu, j.memory, j.gpu, count(*) as jobs, min(j.task_id) as task_id,
           count(*) filter (where j.run_after > now()) as waiting_to_retry
    from ado.jobs j where j.status = 'queued'
    group by j.needs, j.cpu, j.memory, j.gpu
) g join ado.tasks t using (task_id);
