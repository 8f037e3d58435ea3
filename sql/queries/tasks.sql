-- name: cancel_task :many hints
-- Stop a task. Only the first cancel writes cancel_requested. Queued and paused jobs end at once, running ones are
-- marked. Returns the workers of the marked jobs.
-- Here and below every column under a check of ado.jobs is set: Postgres checks the new row before it notices that the
-- old one, which was running when it was read, has changed. ``(select count(*) from locked_jobs) >= 0`` is always true:
-- it has the jobs locked before the log, which is the lock order of all statements.
with locked_jobs as materialized (
    select j.job, j.attempt, j.status, j.worker_id from ado.jobs j
    where j.task_id = :task_id::bigint order by j.job for update  -- all of them: a retry may just be queueing ended ones
), locked_log as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id = :task_id::bigint and (select count(*) from locked_jobs) >= 0
    for update
), cancelled_task as (
    update ado.tasks t set cancel_requested_at = now(), cancel_reason = :reason::text
    from locked_log l
    where t.task_id = l.task_id and t.status in ('queued', 'running', 'paused') and t.cancel_requested_at is null
    returning t.task_id, l.last_seq
), numbered_jobs as (
    select j.*, t.task_id, t.last_seq + 1 + row_number() over (order by j.job) as seq
    from locked_jobs j cross join cancelled_task t where j.status in ('queued', 'paused')
), ended_jobs as (
    update ado.jobs j set status = 'cancelled', reason = 'cancelled', message = :reason::text,
        pause_requested_at = null, lease_expires_at = null, finished_at = now(), finished_seq = n.seq
    from numbered_jobs n where j.task_id = n.task_id and j.job = n.job
    returning j.job
), marked_jobs as (
    update ado.jobs j set stop_reason = coalesce(j.stop_reason, 'cancelled'),
        stop_requested_at = coalesce(j.stop_requested_at, now())
    from locked_jobs l cross join cancelled_task t
    where l.status = 'running' and j.task_id = t.task_id and j.job = l.job
    returning j.worker_id
), written_events as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select t.task_id, t.last_seq + 1, null, null, 'cancel_requested', now(), now(),
           json_build_object('reason', :reason::text, 'by', :actor::json ->> 'name')
    from cancelled_task t
    union all
    select n.task_id, n.seq, n.job, nullif(n.attempt, 0), 'finished', now(), now(),
           json_strip_nulls(json_build_object('outcome', 'cancelled', 'reason', 'cancelled', 'message', :reason::text))
    from numbered_jobs n
    returning task_id, seq
), advanced_log as (
    update ado.task_logs l set last_seq = w.seq
    from (select task_id, max(seq) as seq from written_events group by task_id) w
    where l.task_id = w.task_id
    returning l.task_id, l.last_seq
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, 'task-' || t.task_id from cancelled_task t cross join ado.audit_actor(:actor::json) a
)
select m.worker_id, array['w:' || m.worker_id] as hints from marked_jobs m
union all
select null, array['e:' || a.task_id || ':' || a.last_seq] from advanced_log a;

-- name: create_tasks :many hints
-- Store tasks with their jobs, logs and first events. A task takes over the file that it starts from. No row for a task
-- whose idempotency key is taken, whose file does not exist (any more), whose user has too many queued jobs, or that is to
-- start after a task that does not exist or has not succeeded. The jobs of a task that must wait for others are paused.
-- ``position`` is its place in the input. The input names a file and a schedule at most once. The task of a schedule's time
-- is stored only while this is its next time, and moves it: so each time runs once. ``announce``: there is one task, and
-- its hints may go out with this commit.
with given as materialized (
    select i.*, coalesce(substring(i.actor ->> 'user_id' from '^user-([0-9]+)$')::bigint, 0) as user_id
    from json_to_recordset(:tasks::json) as i(position integer, prompt text, agent text, agent_args text,
        workers integer, requires text[], cpu double precision, memory bigint, gpu double precision, priority integer,
        retries integer, timeout_seconds double precision, start_within_seconds double precision, labels jsonb,
        workspace json, pod json, on_failure text, idempotency_key text, input_digest text, environment json,
        env_names text[], sealed text, needs json, base_file text, event json, actor json, trust_project boolean,
        checks json, budget json, agents text[], schedule_id bigint, due_at timestamptz, scheduled_at timestamptz,
        next_at timestamptz, missed_times bigint, after bigint[], after_any_end boolean)
), rooms as materialized (  -- locks the users whose queue is limited, in one order
    select u.user_id, ado.queue_room(u.user_id) as room
    from (select distinct user_id from given where user_id <> 0 order by user_id) u
), predecessors as materialized (
    select p.task_id, p.status, p.status in ('queued', 'running', 'paused') as is_open
    from (select array(select distinct unnest(g.after) from given g) as ids) a cross join lateral ado.await_tasks(a.ids) p
    where cardinality(a.ids) > 0 and (select count(*) from rooms) >= 0
), planned as materialized (  -- locks the schedules whose time this still is; one that another replica has is passed over
    select s.schedule_id from ado.schedules s join given g using (schedule_id)
    where s.next_at = g.due_at and s.paused_at is null
    for update of s skip locked
), incoming as materialized (
    select nextval('ado.tasks_task_id_seq') as task_id, a.* from (
        select g.*, r.room, sum(g.workers) over (partition by g.user_id order by g.position) as asked, w.waits
        from given g left join rooms r using (user_id)
        cross join lateral (
            select coalesce(bool_or(p.is_open), false) as waits, count(*) as found,
                   count(*) filter (where p.status in ('failed', 'cancelled') and not g.after_any_end) as failed
            from predecessors p where p.task_id = any(g.after)
        ) w
        where w.failed = 0 and w.found = coalesce(cardinality(g.after), 0)
        order by g.position
    ) a where (a.room is null or a.asked <= a.room)
      and (a.schedule_id is null or a.schedule_id in (select p.schedule_id from planned p))
), created_tasks as (
    insert into ado.tasks (task_id, prompt, agent, agent_args, workers, requires, cpu, memory, gpu, priority, retries,
        timeout_seconds, start_within_seconds, start_by, labels, workspace, pod, on_failure, idempotency_key,
        input_digest, created_by, trust_project, checks, budget, agents)
    select i.task_id, i.prompt, i.agent, i.agent_args::json, i.workers, i.requires, i.cpu, i.memory, i.gpu, i.priority,
           i.retries, i.timeout_seconds, i.start_within_seconds,
           case when not i.waits then now() + make_interval(secs => i.start_within_seconds) end,
           i.labels, i.workspace, i.pod, i.on_failure, i.idempotency_key, decode(i.input_digest, 'hex'),
           i.actor ->> 'account', coalesce(i.trust_project, false), i.checks, i.budget, i.agents
    from incoming i
    where i.base_file is null or exists (
        select from ado.files f where f.file_id = i.base_file and f.kind = 'base' and f.task_id is null
          and f.completed_at is not null)
    on conflict (idempotency_key) do nothing
    returning task_id, created_at, start_by
), created as materialized (
    select * from created_tasks join incoming using (task_id)
), created_environments as (
    insert into ado.task_environments (task_id, names, environment, sealed)
    select c.task_id, c.env_names, c.environment, c.sealed from created c where cardinality(c.env_names) > 0
), created_jobs as (
    insert into ado.jobs (task_id, job, priority, demand, needs, cpu, memory, gpu, user_id, status, reason)
    select c.task_id, job, c.priority, n.demand, n.needs, c.cpu, c.memory, c.gpu, c.user_id,
           case when c.waits then 'paused' else 'queued' end, case when c.waits then 'waits_for_task' end
    from created c
    cross join lateral (  -- what the jobs of each agent need; the offsets have it computed once for all of them
        select w.*, md5(w.needs::text || c.cpu || ' ' || c.memory || ' ' || c.gpu) as demand
        from (
            select array(select json_array_elements_text(a.needs)) as needs, a.place::integer - 1 as first_job
            from json_array_elements(c.needs) with ordinality as a(needs, place) offset 0
        ) w offset 0
    ) n
    cross join generate_series(n.first_job, c.workers - 1, json_array_length(c.needs)) as job
), created_dependencies as (
    insert into ado.dependencies (task_id, after_task_id, any_end, outcome)
    select c.task_id, p.task_id, c.after_any_end, case when not p.is_open then p.status end
    from created c join predecessors p on p.task_id = any(c.after)
), created_inputs as (
    insert into ado.inputs (task_id, job)
    select c.task_id, job from created c cross join generate_series(0, c.workers - 1) as job
    where 'input:stdin' = any(c.requires)
), created_logs as (
    insert into ado.task_logs (task_id, last_seq) select c.task_id, 1 from created c
), written_events as (
    insert into ado.events (task_id, seq, type, at, stored_at, body)
    select c.task_id, 1, 'created', now(), now(), c.event from created c
), bound_files as (
    update ado.files f set task_id = c.task_id from created c where f.file_id = c.base_file
), advanced as (
    update ado.schedules s set last_at = c.scheduled_at, last_task_id = c.task_id, after_at = c.scheduled_at,
        next_at = c.next_at, retry_at = null, failures = 0, problem = null, runs = s.runs + 1,
        missed_times = s.missed_times + c.missed_times
    from created c where s.schedule_id = c.schedule_id
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, 'task-' || c.task_id from created c cross join ado.audit_actor(c.actor) a
)
select c.position, c.task_id, c.created_at, c.start_by,
       case when not (:announce::boolean and ado.announce(array_to_string(h.hints, ' '))) then h.hints end as hints
from created c cross join lateral (
    select case when not c.waits then array['q:' || c.workers] end || array['e:' || c.task_id || ':1'] as hints
) h;

-- name: find_task_by_key :optional
select task_id, input_digest, created_by from ado.tasks where idempotency_key = :idempotency_key::text;

-- name: get_task :optional
select t.*, l.last_seq, ado.account_name(t.created_by) as creator_name,
       case when t.status in ('queued', 'running') then (
           select r.waits_for from ado.user_room r
           where r.user_id = substring(t.created_by from '^user-([0-9]+)$')::bigint) end as quota,
       coalesce(v.names, '{}') as env_names, d.after, d.after_any_end, d.waits_for
from ado.tasks t
join ado.task_logs l using (task_id)
left join ado.task_environments v using (task_id)
cross join lateral (
    select array_agg('task-' || a.after_task_id order by a.after_task_id) as after,
           nullif(bool_or(a.any_end), false) as after_any_end,
           array_agg('task-' || a.after_task_id order by a.after_task_id) filter (where a.outcome is null
               and t.status in ('queued', 'paused')) as waits_for
    from ado.dependencies a where a.task_id = t.task_id
) d
where t.task_id = :task_id::bigint;

-- name: list_obstacles :many
-- What keeps each live worker from the queued job of a task that may start first, or that its jobs wait for other tasks.
select o.job, o.worker_id, o.state, o.capabilities, o.unmet, o.help
from ado.obstacles o
where o.task_id = :task_id::bigint and o.job = (
    select j.job from ado.jobs j where j.task_id = :task_id::bigint and j.status = 'queued'
    order by j.run_after > now(), j.job limit 1)
union all
select 0, null, null, null, 'waits_for_task', w.help from ado.waiting_tasks w where w.task_id = :task_id::bigint
order by worker_id;

-- name: list_limit_waits :many
-- Running jobs of a task whose attempts wait for a rate limit: since then a job has written hardly anything, so the event
-- is among its last ones.
select j.job, e.body ->> 'until' as until
from ado.jobs j cross join lateral (
    select l.type, l.body from (
        select n.seq, n.type, n.attempt, n.body from ado.events n
        where n.task_id = :task_id::bigint and n.job = j.job and n.stream is null order by n.seq desc limit 20
    ) l
    where l.type = 'rate_limited' and l.attempt = j.attempt order by l.seq desc limit 1
) e
where j.task_id = :task_id::bigint and j.status = 'running'
order by j.job limit 1000;

-- name: forgotten_environment :optional
select v.task_id from ado.task_environments v where v.task_id = :task_id::bigint and v.forgotten_at is not null;

-- name: get_jobs :many
-- The jobs of tasks. A queued job comes with its pod, if it has one. Results are returned up to so many bytes a task,
-- the small ones first, or, with ``job``, only that of this job; ``left_out_bytes`` is the size of a result that is
-- left out. ``message_chars`` is divided among the messages of a task; each has at least 200.
with sized as (
    select j.*, ado.job_agent(t.agent, t.agents, j.job) as agent,
           sum(coalesce(pg_column_size(j.result), 0)) over small_first as result_bytes,
           count(*) over (partition by j.task_id) as jobs
    from ado.jobs j join ado.tasks t using (task_id) where j.task_id = any(:task_ids::bigint[])
    window small_first as (partition by j.task_id order by coalesce(pg_column_size(j.result), 0), j.job)
)
select j.task_id, j.job, j.agent, j.status, j.attempt, j.finished_attempt, j.worker_id, j.last_batch, j.output_bytes,
       j.dropped_bytes, j.exit_code, j.reason, j.usage, j.stop_reason, j.pause_requested_at, j.started_at, j.finished_at,
       case when j.job = :job::integer then j.message
            else left(j.message, greatest(200, :message_chars::integer / j.jobs)::integer) end as message,
       case when k.has_result then j.result end as result,
       case when not k.has_result then pg_column_size(j.result) end as left_out_bytes,
       case when j.status = 'queued' and j.run_after > now() then j.run_after end as retry_at,
       p.name as pod_name, p.state as pod_state, p.reason as pod_reason, p.message as pod_message
from sized j
cross join lateral (
    select coalesce(j.job = :job::integer, j.result_bytes <= :result_limit::bigint) as has_result
) k
left join ado.pods p on j.status = 'queued' and p.task_id = j.task_id and p.job = j.job
     and p.state in ('wanted', 'placed') and p.claimed_at is null
order by j.task_id, j.job;

-- name: count_kv :one
select count(*) as keys from ado.task_values where task_id = :task_id::bigint;

-- name: get_kv :optional
select key, value::text as value, version, idempotency_key from ado.task_values
where task_id = :task_id::bigint and key = :key::text;

-- name: list_kv :many
select key, value::text as value, version, idempotency_key from ado.task_values
where task_id = :task_id::bigint and starts_with(key, :prefix::text) order by key;

-- name: pick_job :optional hints
-- Record which job's result a person has picked; another one may be picked later. No row: the job has not ended, it has
-- no result, it is the picked one already, or the log is pruned, so nothing can be added.
with locked_job as materialized (
    select j.task_id, j.job from ado.jobs j
    where j.task_id = :task_id::bigint and j.job = :job::integer and j.status in ('succeeded', 'failed', 'cancelled')
      and exists (select from ado.files f where f.task_id = j.task_id and f.job = j.job and f.kind = 'result'
                  and f.completed_at is not null)
      and not exists (select from ado.log_ranges r where r.from_task_id <= j.task_id and j.task_id < r.to_task_id
                      and r.pruned_at is not null)
    for update of j
), locked_log as materialized (
    select l.task_id, l.last_seq from ado.task_logs l where l.task_id in (select k.task_id from locked_job k) for update
), picked_task as (
    update ado.tasks t set picked_job = :job::integer from locked_log l
    where t.task_id = l.task_id and t.picked_job is distinct from :job::integer
    returning t.task_id, l.last_seq
), written_event as (
    insert into ado.events (task_id, seq, job, type, at, stored_at, body)
    select t.task_id, t.last_seq + 1, :job::integer, 'picked', now(), now(),
           json_strip_nulls(json_build_object('by', :actor::json ->> 'name'))
    from picked_task t
), advanced_log as (
    update ado.task_logs l set last_seq = t.last_seq + 1 from picked_task t where l.task_id = t.task_id
    returning l.task_id, l.last_seq
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, 'task-' || t.task_id from picked_task t cross join ado.audit_actor(:actor::json) a
)
select a.task_id, array['e:' || a.task_id || ':' || a.last_seq] as hints from advanced_log a;

-- name: remove_task :one
-- Delete an ended task with everything of it. ``found`` is the status it had; null: there is no such task.
with removed as materialized (
    select ado.remove_task(:task_id::bigint) as found
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, 'task-' || :task_id::bigint from removed r cross join ado.audit_actor(:actor::json) a
    where r.found in ('succeeded', 'failed', 'cancelled')
)
select found from removed;

-- name: retry_task :optional hints
-- Queue the failed and cancelled jobs again, or one of them. If the task was cancelled before the ends that it waits for, or because of
-- them, it waits again. No row in each of these cases: there is nothing to retry; the user's queue
-- has no room; a cancel of the task, or of the siblings of a failed job, is still under way; another job has failed, for
-- which fail_fast would stop the one job at once; the log is pruned, so nothing can be added; the values of the
-- environment were deleted; the task had input, which went with its attempts; or a task that must succeed first has not.
with queue_room as materialized (  -- before the jobs are locked: claims take the locks in the same order
    select ado.queue_room(j.user_id) as room from ado.jobs j where j.task_id = :task_id::bigint and j.job = 0
), locked_jobs as materialized (
    select j.job, j.status from ado.jobs j
    where j.task_id = :task_id::bigint and j.status in ('failed', 'cancelled')
      and j.job = coalesce(:job::integer, j.job)
      and coalesce((select q.room from queue_room q), 2147483647) >= (
          select count(*) from ado.jobs f where f.task_id = :task_id::bigint and f.status in ('failed', 'cancelled')
              and f.job = coalesce(:job::integer, f.job))
      and not exists (select from ado.tasks t join ado.jobs f using (task_id)
                      where t.task_id = :task_id::bigint and t.on_failure = 'fail_fast' and f.status = 'failed'
                        and f.job <> :job::integer)
      and not exists (select from ado.log_ranges r where r.from_task_id <= :task_id::bigint
                      and :task_id::bigint < r.to_task_id and r.pruned_at is not null)
      and not exists (select from ado.task_environments v
                      where v.task_id = :task_id::bigint and v.forgotten_at is not null)
      and not exists (select from ado.tasks t where t.task_id = :task_id::bigint and 'input:stdin' = any(t.requires))
    order by j.job for update
), renewed as materialized (  -- it locks older logs
    select ado.await_again(:task_id::bigint) as state where (select count(*) from locked_jobs) > 0
), locked_log as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id = :task_id::bigint and exists (select from renewed r where r.state <> 'refused')
    for update
), reopened_task as (
    update ado.tasks t set finished_at = null, reason = null, message = null, failed_job = null,
        cancel_requested_at = null, cancel_reason = null,
        start_by = case r.state when 'ready' then now() + make_interval(secs => t.start_within_seconds) end,
        status = case when t.status = 'running' then 'running' else 'queued' end
    from locked_log l cross join renewed r
    where t.task_id = l.task_id and (t.status in ('failed', 'cancelled') or t.cancel_requested_at is null)
      and not exists (select from ado.jobs j where j.task_id = t.task_id and j.status = 'running'
                      and j.stop_reason = 'sibling_failed')
    returning t.task_id, l.last_seq, r.state = 'waits' as waits
), queued_jobs as (
    update ado.jobs j set status = case when t.waits then 'paused' else 'queued' end,
        reason = case when t.waits then 'waits_for_task' end, finished_at = null, finished_seq = null, exit_code = null,
        message = null, result = null, losses = 0, failures = 0, interruptions = 0, run_after = now(), stop_reason = null,
        stop_requested_at = null, worker_id = null, lease_expires_at = null, continues = false
    from locked_jobs l cross join reopened_task t
    where j.task_id = t.task_id and j.job = l.job
    returning j.job
), written_event as (
    insert into ado.events (task_id, seq, type, at, stored_at, body)
    select t.task_id, t.last_seq + 1, 'retried', now(), now(),
           json_build_object('jobs', (select json_agg(q.job order by q.job) from queued_jobs q), 'by', :actor::json ->> 'name')
    from reopened_task t
), advanced_log as (
    update ado.task_logs l set last_seq = t.last_seq + 1 from reopened_task t where l.task_id = t.task_id
    returning l.task_id, l.last_seq
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, 'task-' || t.task_id from reopened_task t cross join ado.audit_actor(:actor::json) a
)
select a.task_id, array['q:' || (select count(*) from queued_jobs), 'e:' || a.task_id || ':' || a.last_seq] as hints
from advanced_log a;

-- name: set_kv :optional
-- Write a value. With a version it must be the current one (0: the key must not exist). No row if it is not, if the
-- task has as many keys or bytes as allowed, if the same write was stored before, or if the writing job's attempt no
-- longer runs.
with written as materialized (
    select v.task_id, v.key, v.value::text as value, v.version, v.idempotency_key
    from ado.set_value(:task_id::bigint, :key::text, :value::json, :version::bigint, :key_limit::bigint,
        :byte_limit::bigint, :idempotency_key::text, :job::integer, :attempt::integer) v
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, 'task-' || w.task_id from written w cross join ado.audit_actor(:actor::json) a
)
select key, value, version, idempotency_key from written;

-- name: update_task :optional
-- Change priority or labels of the version that the caller saw. No row: the task has another version.
with locked_jobs as materialized (
    select j.job from ado.jobs j
    where j.task_id = :task_id::bigint and :priority::integer is not null order by j.job for update
), updated_task as (
    update ado.tasks t set version = t.version + 1, priority = coalesce(:priority::integer, t.priority),
        labels = coalesce(:labels::jsonb, t.labels)
    where t.task_id = :task_id::bigint and t.version = :version::integer and (select count(*) from locked_jobs) >= 0
    returning t.task_id, t.priority
), updated_jobs as (
    update ado.jobs j set priority = t.priority
    from updated_task t join locked_jobs l on true
    where j.task_id = t.task_id and j.job = l.job and j.priority <> t.priority
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, 'task-' || t.task_id from updated_task t cross join ado.audit_actor(:actor::json) a
)
select task_id from updated_task;
