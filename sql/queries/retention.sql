-- name: forget_environments :one
-- Delete the values of tasks that ended so long ago that they are not retried any more; the names stay.
with forgotten as (
    update ado.task_environments v set environment = null, sealed = null, forgotten_at = now()
    from ado.tasks t
    where t.task_id = v.task_id and v.forgotten_at is null
      and t.finished_at < now() - make_interval(secs => :keep_seconds::double precision)
    returning v.task_id
)
select count(*) as tasks from forgotten;

-- name: old_ranges :many
-- Ranges whose ids are used up and whose tasks all ended before the cut-off; with ``only`` at most the one from that id.
select r.from_task_id from ado.log_ranges r
where r.pruned_at is null and (:only::bigint is null or r.from_task_id = :only::bigint)
  and r.to_task_id <= (select last_value from pg_sequences
                       where schemaname = 'ado' and sequencename = 'tasks_task_id_seq') + 1
  and not exists (select from ado.tasks t where t.task_id >= r.from_task_id and t.task_id < r.to_task_id
                  and coalesce(t.finished_at, 'infinity') >= now() - make_interval(secs => :seconds::double precision))
order by r.from_task_id;

-- name: mark_pruned :one
-- Mark a range as pruned: its readers get "pruned" from now on, and its tasks cannot be retried. What the tasks only
-- needed to run is deleted; their rows stay and say how they ended.
with marked as (
    update ado.log_ranges set pruned_at = now() where from_task_id = :from_task_id::bigint
    returning from_task_id, to_task_id
), forgotten_environments as (
    delete from ado.task_environments v using marked m
    where v.task_id >= m.from_task_id and v.task_id < m.to_task_id
), forgotten_values as (
    delete from ado.task_values v using marked m where v.task_id >= m.from_task_id and v.task_id < m.to_task_id
), forgotten_messages as (
    delete from ado.messages g using marked m where g.task_id >= m.from_task_id and g.task_id < m.to_task_id
), kept_jobs as (
    update ado.jobs j set result = null from marked m
    where j.task_id >= m.from_task_id and j.task_id < m.to_task_id and j.result is not null
), kept_tasks as (
    update ado.tasks t set prompt = left(t.prompt, 1000), agent_args = null, workspace = null from marked m
    where t.task_id >= m.from_task_id and t.task_id < m.to_task_id
    returning t.task_id
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, format('task-%s..task-%s', m.from_task_id, m.to_task_id - 1)
    from marked m cross join ado.audit_actor(:actor::json) a
)
select m.to_task_id, (select count(*) from kept_tasks) as tasks,
       pg_total_relation_size(to_regclass(format('ado.events_%s', m.from_task_id))) as bytes
from marked m;

-- name: undropped_ranges :many
-- Ranges that are marked but still exist, and the state of their partition: attached, detaching or detached.
select r.from_task_id, 'events_' || r.from_task_id as partition,
       case i.inhdetachpending when true then 'detaching' when false then 'attached' else 'detached' end as state
from ado.log_ranges r
join pg_class c on c.oid = to_regclass(format('ado.events_%s', r.from_task_id))
left join pg_inherits i on i.inhrelid = c.oid
where r.pruned_at is not null
order by i.inhdetachpending desc nulls first, r.from_task_id;
