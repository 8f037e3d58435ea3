-- name: overdue_jobs :many
-- Leases that ran out. None count while the control plane itself has not ticked for a while: the monitor first moves
-- them over the gap.
select j.task_id, j.job, j.attempt from ado.jobs j
where j.status = 'running' and j.lease_expires_at < now()
  and (select c.last_tick_at from ado.control c) > now() - make_interval(secs => :suspect_seconds::double precision)
order by j.task_id, j.job limit 1000;

-- name: abandoned_jobs :many
-- Running jobs of workers that have reported their end: the last claim and the report crossed.
select j.task_id, j.job, j.attempt from ado.jobs j join ado.workers w using (worker_id)
where j.status = 'running' and w.stopped_at is not null
order by j.task_id, j.job limit 1000;

-- name: fail_unstarted_jobs :many hints
-- Fail jobs that no worker claimed by their task's ``start_by``. An earlier claim wins: its job is no longer queued
-- once the lock is there. The message says what the job waited for, as ado.why_pending does for the oldest jobs.
with due as materialized (
    select t.task_id, t.start_within_seconds, t.on_failure from ado.tasks t
    where t.status in ('queued', 'running') and t.start_by < now()
      and exists (select from ado.jobs j where j.task_id = t.task_id and j.status = 'queued' and j.attempt = 0 offset 0)
    order by t.start_by limit 200
), locked_jobs as materialized (  -- each task is looked up by itself, whatever the statistics say of the queue
    select j.* from (select task_id from due order by task_id) d
    cross join lateral (
        select j.task_id, j.job, j.needs, j.cpu, j.memory, j.gpu from ado.jobs j
        where j.task_id = d.task_id and j.status = 'queued' and j.attempt = 0 order by j.job for update
    ) j
), locked_logs as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id in (select task_id from locked_jobs) order by l.task_id for update
), live_workers as materialized (
    select w.capabilities, w.cpu, w.memory, w.gpu from ado.worker_status w
    where w.stopped_at is null and w.state not in ('dead', 'starting') and exists (select from locked_jobs)
), waited as materialized (
    select d.*, case
        when n.offers = 0 then 'no live worker offers ' || array_to_string(d.needs, ', ')
        when n.large = 0 then 'no worker that offers ' || array_to_string(d.needs, ', ') || ' is large enough'
        else 'every worker that offers ' || array_to_string(d.needs, ', ') || ' had other work or took none' end as reason
    from (select distinct needs, cpu, memory, gpu from locked_jobs) d
    cross join lateral (
        select count(*) filter (where not 'capability' = any(l.lacks)) as offers,
               count(*) filter (where l.lacks = '{}') as large
        from (
            select ado.lacks(d.needs, d.cpu, d.memory, d.gpu, w.capabilities, w.cpu, w.memory, w.gpu) as lacks
            from live_workers w
        ) l
    ) n
), numbered as materialized (
    select j.task_id, j.job, l.last_seq + row_number() over (partition by j.task_id order by j.job) as seq,
           'not started within ' || d.start_within_seconds || ' s: ' || coalesce(p.problem, a.why, w.reason) as message
    from locked_jobs j
    join locked_logs l using (task_id)
    join due d using (task_id)
    join waited w using (needs, cpu, memory, gpu)
    left join lateral (
        select 'its pod: ' || max(p.reason) as problem from ado.pods p
        where p.task_id = j.task_id and p.job = j.job and p.state in ('wanted', 'placed') and p.reason is not null
    ) p on true
    left join lateral (
        select min(u.why) as why from ado.unhealthy_agents u where ado.needs_one_of(j.needs, array[u.agent])
    ) a on true
), failed_jobs as (
    update ado.jobs j set status = 'failed', reason = 'not_started', message = n.message, lease_expires_at = null,
        finished_at = now(), finished_seq = n.seq
    from numbered n where j.task_id = n.task_id and j.job = n.job
), written_events as (
    insert into ado.events (task_id, seq, job, type, at, stored_at, body)
    select n.task_id, n.seq, n.job, 'finished', now(), now(),
           json_build_object('outcome', 'failed', 'reason', 'not_started', 'message', n.message)
    from numbered n
), advanced_logs as (
    update ado.task_logs l set last_seq = n.seq
    from (select task_id, max(seq) as seq from numbered group by task_id) n where l.task_id = n.task_id
), marked_tasks as (  -- if this replica dies now, a monitor finds the task by this mark
    update ado.tasks t set failed_job = coalesce(t.failed_job, n.job)
    from (select task_id, min(job) as job from numbered group by task_id) n where t.task_id = n.task_id
)
select n.task_id, n.job, d.on_failure, array['e:' || n.task_id || ':' || n.seq] as hints
from numbered n join due d using (task_id);

-- name: time_out_jobs :many hints
-- Mark running attempts that are past their timeout; their workers get a command, as after a cancel.
with overdue as materialized (
    select j.task_id, j.job from ado.jobs j join ado.tasks t using (task_id)
    where j.status = 'running' and j.stop_reason is null and t.timeout_seconds is not null
      and j.started_at < now() - make_interval(secs => t.timeout_seconds)
    order by j.task_id, j.job for update of j skip locked
)
update ado.jobs j set stop_reason = 'timed_out', stop_requested_at = now()
from overdue o where j.task_id = o.task_id and j.job = o.job
returning j.worker_id, array['w:' || j.worker_id] as hints;
