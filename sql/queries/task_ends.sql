-- name: settle_tasks :many hints
-- Write the one terminal event of each task whose jobs have all ended. A task whose other jobs are all paused is paused
-- instead. A task that succeeded never runs again, so the values of its environment are deleted. The jobs are locked as
-- well, so no retry comes in between; the second of two settles finds the task settled and gets no row. ``offset 0`` and
-- ``lateral`` have each task looked up by itself: a plan that was made while the queue was short would read the whole
-- queue. The inner ``select`` hides how many tasks there are: else each call would be planned anew for their number.
with ended_tasks as materialized (
    select n.task_id from unnest((select :task_ids::bigint[])) as n(task_id)
    where not exists (select from ado.jobs o where o.task_id = n.task_id and o.status in ('queued', 'running') offset 0)
), locked_jobs as materialized (
    select j.* from (select e.task_id from ended_tasks e order by e.task_id) e
    cross join lateral (
        select j.task_id, j.job, j.status, j.reason, j.message, j.exit_code, j.finished_seq
        from ado.jobs j where j.task_id = e.task_id order by j.job for update
    ) j
), verdicts as materialized (
    select task_id, case when count(*) filter (where status = 'paused') > 0 then 'paused'
                         when count(*) filter (where status = 'failed') > 0 then 'failed'
                         when count(*) filter (where status = 'cancelled') > 0 then 'cancelled'
                         else 'succeeded' end as status
    from locked_jobs group by task_id
    having count(*) filter (where status in ('queued', 'running')) = 0
), first_failures as (
    select distinct on (task_id) * from locked_jobs where status = 'failed' order by task_id, finished_seq
), locked_logs as materialized (
    select l.task_id, l.last_seq, v.status from ado.task_logs l join verdicts v using (task_id)
    where v.status <> 'paused' order by l.task_id for update of l
), paused_tasks as (
    update ado.tasks t set status = v.status from verdicts v
    where t.task_id = v.task_id and v.status = 'paused' and t.status in ('queued', 'running')
), settled_tasks as (
    update ado.tasks t set status = l.status, finished_at = now(), failed_job = f.job,
        reason = case l.status when 'failed' then f.reason when 'cancelled' then coalesce(t.reason, 'cancelled') end,
        message = case l.status when 'failed' then f.message when 'cancelled' then t.cancel_reason end
    from locked_logs l left join first_failures f using (task_id)
    where t.task_id = l.task_id and t.status in ('queued', 'running', 'paused')
    returning t.task_id, t.status, t.reason, t.message, t.failed_job, l.last_seq + 1 as seq, f.exit_code, t.agent,
        extract(epoch from t.started_at - t.created_at) as waited, extract(epoch from t.finished_at - t.started_at) as ran,
        t.is_awaited
), noted as (
    insert into ado.metric_notes (measure, agent, kind, reason, bucket, amount)
    select n.measure, s.agent, n.kind, n.reason, n.bucket, n.amount
    from settled_tasks s cross join lateral (
        select 'finished', s.status, coalesce(s.reason, ''), 0::double precision, 0::numeric
        union all
        select m.measure, '', '', ado.metric_bucket(m.seconds::double precision), greatest(0, m.seconds)
        from (values ('wait', s.waited), ('run', s.ran)) m(measure, seconds) where m.seconds is not null
    ) n(measure, kind, reason, bucket, amount)
), written_events as (
    insert into ado.events (task_id, seq, type, at, stored_at, body)
    select s.task_id, s.seq, s.status, now(), now(),
           json_strip_nulls(json_build_object('reason', s.reason, 'message', s.message, 'job', s.failed_job,
                                              'exitCode', s.exit_code))
    from settled_tasks s
), advanced_logs as (
    update ado.task_logs l set last_seq = s.seq from settled_tasks s where l.task_id = s.task_id
), forgotten_environments as (
    update ado.task_environments v set environment = null, sealed = null, forgotten_at = now()
    from settled_tasks s where v.task_id = s.task_id and s.status = 'succeeded'
)
select s.task_id, s.status, s.is_awaited, array['e:' || s.task_id || ':' || s.seq] as hints from settled_tasks s;

-- name: stop_siblings :many hints
-- fail_fast: one job failed, so the others are stopped. Repeating it changes nothing.
with locked_jobs as materialized (
    select j.job, j.attempt, j.status, j.stop_reason from ado.jobs j
    where j.task_id = :task_id::bigint and j.status in ('queued', 'running', 'paused')
      and exists (select from ado.tasks t where t.task_id = :task_id::bigint and t.on_failure = 'fail_fast')
      and exists (select from ado.jobs f where f.task_id = :task_id::bigint and f.status = 'failed')
    order by j.job for update
), locked_log as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id = :task_id::bigint and exists (select from locked_jobs) for update
), numbered_jobs as (
    select j.*, l.task_id, l.last_seq + row_number() over (order by j.job) as seq
    from locked_jobs j cross join locked_log l where j.status in ('queued', 'paused')
), ended_jobs as (
    update ado.jobs j set status = 'cancelled', reason = 'sibling_failed', lease_expires_at = null,
        pause_requested_at = null, finished_at = now(), finished_seq = n.seq
    from numbered_jobs n where j.task_id = n.task_id and j.job = n.job
    returning j.job
), marked_jobs as (
    update ado.jobs j set stop_reason = 'sibling_failed', stop_requested_at = now()
    from locked_jobs l cross join locked_log g
    where l.status = 'running' and l.stop_reason is null and j.task_id = g.task_id and j.job = l.job
    returning j.worker_id
), written_events as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select n.task_id, n.seq, n.job, nullif(n.attempt, 0), 'finished', now(), now(),
           json_build_object('outcome', 'cancelled', 'reason', 'sibling_failed')
    from numbered_jobs n
    returning task_id, seq
), advanced_log as (
    update ado.task_logs l set last_seq = w.seq
    from (select task_id, max(seq) as seq from written_events group by task_id) w
    where l.task_id = w.task_id
    returning l.task_id, l.last_seq
)
select array['e:' || a.task_id || ':' || a.last_seq] as hints from advanced_log a
union all
select array['w:' || m.worker_id] from marked_jobs m;

-- name: unsettled_tasks :many
-- Open tasks whose jobs have all ended, or that need stop_siblings: a replica died between two statements. Of tasks
-- that no worker has claimed from, only cancelled ones and those with a job that failed in the queue can be among them;
-- of paused tasks, only cancelled ones. They are read in the order of their index, and the jobs of each by themselves
-- (``offset 0``), so a long queue is not read.
select t.task_id from ado.tasks t
where (t.status = 'running' or t.status = 'queued' and (t.cancel_requested_at is not null or t.failed_job is not null)
       or t.status = 'paused' and t.cancel_requested_at is not null)
  and (not exists (select from ado.jobs j where j.task_id = t.task_id and j.status in ('queued', 'running') offset 0)
       or (t.on_failure = 'fail_fast'
           and exists (select from ado.jobs j where j.task_id = t.task_id and j.status = 'failed' offset 0)
           and exists (select from ado.jobs j where j.task_id = t.task_id
                       and (j.status in ('queued', 'paused') or j.status = 'running' and j.stop_reason is null)
                       offset 0)))
order by t.task_id limit 200;
