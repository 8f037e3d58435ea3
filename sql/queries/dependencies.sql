-- name: start_dependents :many hints
-- Apply the ends that tasks wait for: those that nothing keeps any more are queued, and those that needed another
-- outcome are cancelled. Returns a row for each task that ended and for each waiting task that changed; no row:
-- nothing is left.
-- Of two tasks that end at the same moment, each may have been read as open here when the other one was stored. So the
-- outcomes are stored under the locks of the waiting jobs, and the other open ones are read after those locks: the
-- second statement finds what the first has stored. The work is bounded by the number of waiting jobs.
with ended as materialized (
    select t.task_id, t.status, t.finished_at from ado.tasks t
    where t.is_awaited and t.status in ('succeeded', 'failed', 'cancelled') order by t.task_id limit 100
), counted as (
    select d.task_id, d.after_task_id, e.status, d.any_end or e.status = 'succeeded' as will_do,
           sum(t.workers) over (order by d.task_id, d.after_task_id rows unbounded preceding) - t.workers as jobs_before
    from ended e
    join ado.dependencies d on d.after_task_id = e.task_id and d.outcome is null
    join ado.tasks t on t.task_id = d.task_id
), decided as materialized (
    select * from counted where jobs_before < 250
), locked_jobs as materialized (
    select j.task_id, j.job, j.status, j.reason, nullif(j.attempt, 0) as attempt,
           j.pause_requested_at is not null as is_pausing
    from ado.jobs j where j.task_id in (select task_id from decided) order by j.task_id, j.job for update
), locked_logs as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id in (select task_id from decided union select task_id from ended)
      and (select count(*) from locked_jobs) >= 0
    order by l.task_id for update
), open_edges as materialized (
    select d.task_id, d.after_task_id, c.status, c.will_do
    from ado.dependencies d left join decided c using (task_id, after_task_id)
    where d.task_id in (select task_id from decided) and d.outcome is null and (select count(*) from locked_logs) >= 0
    order by d.task_id, d.after_task_id for update of d
), verdicts as (
    select e.task_id, bool_and(coalesce(e.will_do, false)) as starts,
           (array_agg(e.after_task_id order by e.after_task_id) filter (where not e.will_do))[1] as failed_id,
           (array_agg(e.status order by e.after_task_id) filter (where not e.will_do))[1] as failed_as
    from open_edges e group by e.task_id
), told_jobs as materialized (
    select j.*, v.starts, l.last_seq + row_number() over (partition by j.task_id order by j.job) as seq,
           format('task-%s, after which it was to start, %s', v.failed_id,
                  case v.failed_as when 'failed' then 'failed' else 'was cancelled' end) as message
    from locked_jobs j join verdicts v using (task_id) join locked_logs l using (task_id)
    where j.status = 'paused' and j.reason = 'waits_for_task' and (v.starts or v.failed_id is not null)
), stored_outcomes as (
    update ado.dependencies d set outcome = e.status from open_edges e
    where d.task_id = e.task_id and d.after_task_id = e.after_task_id and e.status is not null
), changed_jobs as (
    update ado.jobs j set run_after = now(), lease_expires_at = null,
        status = case when not n.starts then 'cancelled' when n.is_pausing then 'paused' else 'queued' end,
        reason = case when not n.starts then 'predecessor_failed' when n.is_pausing then 'paused' end,
        message = case when not n.starts then n.message end,
        pause_requested_at = case when n.starts then j.pause_requested_at end,
        finished_at = case when not n.starts then now() end,
        finished_seq = case when not n.starts then n.seq end
    from told_jobs n where j.task_id = n.task_id and j.job = n.job
), told_tasks as materialized (
    select n.task_id, n.starts, min(n.message) as message, max(n.seq) as seq,
           count(*) filter (where not n.is_pausing) as ready
    from told_jobs n group by n.task_id, n.starts
), changed_tasks as (  -- if this replica dies now, a monitor ends the task by the mark of a cancel
    update ado.tasks t set
        start_by = case when n.starts then now() + make_interval(secs => t.start_within_seconds) end,
        reason = case when not n.starts then 'predecessor_failed' end,
        cancel_reason = case when not n.starts then n.message end,
        cancel_requested_at = case when not n.starts then now() end
    from told_tasks n where t.task_id = n.task_id
), written_events as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select n.task_id, n.seq, n.job, n.attempt, 'finished', now(), now(),
           json_build_object('outcome', 'cancelled', 'reason', 'predecessor_failed', 'message', n.message)
    from told_jobs n where not n.starts
), advanced_logs as (
    update ado.task_logs l set last_seq = n.seq from told_tasks n where l.task_id = n.task_id and not n.starts
), finished_telling as (  -- a task that has ended again meanwhile may have new tasks that wait for it
    update ado.tasks t set is_awaited = false from ended e
    where t.task_id = e.task_id and t.finished_at = e.finished_at and not exists (
        select from ado.dependencies d where d.after_task_id = e.task_id and d.outcome is null
          and not exists (select from decided c where c.task_id = d.task_id and c.after_task_id = d.after_task_id))
)
select n.task_id, not n.starts as is_cancelled,
       array[case when n.starts then 'q:' || n.ready else 'e:' || n.task_id || ':' || n.seq end] as hints
from told_tasks n
union all
select e.task_id, false, null from ended e;

-- name: unusable_predecessors :many
-- The tasks, among those after which another is to start, that do not exist (status null) or have not succeeded.
select n.task_id, t.status from unnest(:task_ids::bigint[]) as n(task_id) left join ado.tasks t using (task_id)
where t.task_id is null or t.status in ('failed', 'cancelled')
order by n.task_id;

-- name: owned_by_others :many
-- The tasks, among the given ones, that another account has created.
select t.task_id from ado.tasks t
where t.task_id = any(:task_ids::bigint[]) and t.created_by is distinct from :account::text
order by t.task_id;

-- name: failed_predecessors :many
-- The tasks that a task needed and that have not succeeded, with their status now, or null if they are removed.
select d.after_task_id as task_id, t.status
from ado.dependencies d left join ado.tasks t on t.task_id = d.after_task_id
where d.task_id = :task_id::bigint and not d.any_end and d.outcome in ('failed', 'cancelled')
order by d.after_task_id;
