-- name: pause_task :many hints
-- Pause a task. Queued jobs are paused at once. Running ones are marked, their workers hand them back, and
-- finish_jobs pauses them. Jobs that end first, or are being stopped, are left alone; no row if nothing is left to pause.
with locked_jobs as materialized (
    select j.job, j.status, j.worker_id, j.stop_reason, j.pause_requested_at, j.lease_expires_at from ado.jobs j
    where j.task_id = :task_id::bigint order by j.job for update
), chosen_jobs as materialized (
    select l.* from locked_jobs l
    where l.pause_requested_at is null
      and (l.status in ('queued', 'paused') or l.status = 'running' and l.stop_reason is null)
), locked_log as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id = :task_id::bigint and exists (select from chosen_jobs) for update
), paused_jobs as (
    update ado.jobs j set pause_requested_at = now(), finished_at = null,
        status = case when c.status = 'running' then 'running' else 'paused' end,
        reason = case when c.status = 'queued' then 'paused' else j.reason end,
        lease_expires_at = case when c.status = 'running' then c.lease_expires_at end
    from chosen_jobs c cross join locked_log l where j.task_id = l.task_id and j.job = c.job
), paused_task as (
    update ado.tasks t set status = 'paused' from locked_log l
    where t.task_id = l.task_id and t.status in ('queued', 'running')
      and not exists (select from locked_jobs o where o.status = 'running')
), written_event as (
    insert into ado.events (task_id, seq, type, at, stored_at, body)
    select l.task_id, l.last_seq + 1, 'paused', now(), now(),
           json_strip_nulls(json_build_object('reason', :reason::text, 'by', :actor::json ->> 'name'))
    from locked_log l
), advanced_log as (
    update ado.task_logs l set last_seq = l.last_seq + 1 from locked_log k where l.task_id = k.task_id
    returning l.task_id, l.last_seq
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, 'task-' || l.task_id from locked_log l cross join ado.audit_actor(:actor::json) a
)
select array['e:' || a.task_id || ':' || a.last_seq] as hints from advanced_log a
union all
select array['w:' || c.worker_id] from chosen_jobs c where c.status = 'running';

-- name: resume_task :optional hints
-- Queue paused jobs again, and let running ones go on that were to be paused. The time in which a job must start begins
-- anew. A job whose question was answered meanwhile stays until resume_answered_jobs queues it with the answer, and one
-- that waits for another task stays until start_dependents queues it. No row: nothing is paused.
with locked_jobs as materialized (
    select j.job, j.status, j.pause_requested_at, j.lease_expires_at, j.reason, j.attempt,
           j.status = 'paused' and j.reason is not distinct from 'waits_for_task' as waits
    from ado.jobs j
    where j.task_id = :task_id::bigint order by j.job for update
), chosen_jobs as materialized (
    select l.*, case when l.status = 'paused' and not l.waits and (l.reason is distinct from 'question' or exists (
               select from ado.questions q where q.task_id = :task_id::bigint and q.job = l.job
                 and q.attempt = l.attempt and q.state = 'open')) then 'queued' else l.status end as next_status
    from locked_jobs l where l.status = 'paused' and not l.waits or l.pause_requested_at is not null
), locked_log as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id = :task_id::bigint and exists (select from chosen_jobs) for update
), resumed_jobs as (
    update ado.jobs j set pause_requested_at = null, finished_at = null,
        status = c.next_status,
        reason = case when c.next_status <> 'queued' then j.reason end,
        message = case when c.next_status <> 'queued' then j.message end,
        run_after = case when c.next_status = 'queued' then now() else j.run_after end,
        lease_expires_at = case when c.status <> 'paused' then c.lease_expires_at end
    from chosen_jobs c cross join locked_log l where j.task_id = l.task_id and j.job = c.job
), resumed_task as (
    update ado.tasks t set
        start_by = case when not exists (select from chosen_jobs c where c.waits)
                        then now() + make_interval(secs => t.start_within_seconds) end,
        status = case when t.status = 'running' or t.started_at is not null then 'running' else 'queued' end
    from locked_log l
    where t.task_id = l.task_id and exists (select from chosen_jobs c where c.next_status = 'queued' or c.waits)
), written_event as (
    insert into ado.events (task_id, seq, type, at, stored_at, body)
    select l.task_id, l.last_seq + 1, 'resumed', now(), now(),
           json_strip_nulls(json_build_object('by', :actor::json ->> 'name'))
    from locked_log l
), advanced_log as (
    update ado.task_logs l set last_seq = l.last_seq + 1 from locked_log k where l.task_id = k.task_id
    returning l.task_id, l.last_seq
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, 'task-' || l.task_id from locked_log l cross join ado.audit_actor(:actor::json) a
)
select a.task_id, array['q:' || (select count(*) from chosen_jobs c where c.next_status = 'queued'),
                        'e:' || a.task_id || ':' || a.last_seq] as hints
from advanced_log a;
