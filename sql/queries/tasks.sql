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
-- is stored only while this is its next time, and moves it: so each time runs once.
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
       array['e:' || c.task_id || ':1'] || case when not c.waits then array['q:' || c.workers] end as hints
from created c;

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
        where n.task_id = j.task_id and n.job = j.job and n.stream is null order by n.seq desc limit 20
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

-- name: watched_tasks :many
-- The tasks that a viewer of the whole system sees: the newest open tasks, every task from a little before the newest
-- one it knows (null: the newest there is), and the tasks it knows as open. With ``creator`` only that creator's. Each is
-- looked up by itself (``offset 0``): how many follow ``newest`` is not known to a planner, which would read all tasks.
with wanted as (
    (select o.task_id from ado.tasks o where o.status in ('queued', 'running', 'paused')
       and (:creator::text is null or o.created_by = :creator::text)
     order by o.task_id desc limit :row_limit::integer)
    union
    (select n.task_id from ado.tasks n
     where n.task_id > coalesce(:newest::bigint, (select max(m.task_id) from ado.tasks m)) - :late_ids::integer)
    union
    select k.task_id from unnest(:known::bigint[]) as k(task_id)
)
select w.task_id, f.status, f.last_seq
from wanted w
cross join lateral (
    select t.status, l.last_seq from ado.tasks t join ado.task_logs l using (task_id)
    where t.task_id = w.task_id and (:creator::text is null or t.created_by = :creator::text) offset 0
) f
order by w.task_id;

-- name: list_tasks :many
-- Newest first; the cursor is the last id of the previous page. A prompt is cut, and the agent's arguments are left
-- out. A page ends early when its prompts and jobs grow large; one task always fits. Without a filter ``statuses`` has
-- all of them: each status is read by its index, in order; so is each status of each creator, or else of each agent. A search looks at a limited number of prompts and bytes, so
-- its page may have fewer tasks, or none, although more follow. ``next`` is where the next page begins, null after the
-- last one. A page without tasks is one row that has only ``next``.
with bounds as materialized (
    select least(coalesce(:before::bigint, 9223372036854775807),
               case when :until::timestamptz is not null then coalesce((
                   select max(f.task_id) + 1 from (
                       select c.task_id from ado.tasks c where c.created_at < :until::timestamptz
                       order by c.created_at desc limit 10000
                   ) f), 0) end) as before,
           case when :since::timestamptz is null then 0 else coalesce((
               -- Ids grow with time, except for concurrent transactions and after the clock was set back.
               select min(f.task_id) from (
                   select c.task_id from ado.tasks c where c.created_at >= :since::timestamptz
                   order by c.created_at limit 10000
               ) f), 9223372036854775807) end as oldest
), candidates as materialized (
    select distinct c.task_id from bounds b  -- a task may have several of the agents
    cross join unnest(:statuses::text[]) as s(status)
    cross join unnest(coalesce(:creators::text[], '{null}')) as r(creator)
    cross join unnest(case when :creators::text[] is null then coalesce(:agents::text[], '{null}') else '{null}' end)
        as a(agent)
    cross join lateral (
        -- By status alone, by creator, by agent, or by agent where there are several: each by an index that has its
        -- rows in order, with the filters, so that it can end early. A row comparison makes the planner use that index;
        -- with an equality it could choose the key, and read many rows in vain if the status is rare.
        (select t.task_id from ado.tasks t
        where :creators::text[] is null and :agents::text[] is null
          and (t.status, t.task_id) < (s.status, b.before) and (t.status, t.task_id) >= (s.status, b.oldest)
          and (:since::timestamptz is null or t.created_at >= :since::timestamptz)
          and (:until::timestamptz is null or t.created_at < :until::timestamptz)
          and (:labels::jsonb = '{}' or t.labels @> :labels::jsonb)
          and (cardinality(:label_names::text[]) = 0 or (t.labels <> '{}' and t.labels ?& :label_names::text[]))
        order by t.status desc, t.task_id desc limit :scan_limit::integer + 1)
        union all
        (select t.task_id from ado.tasks t
        where :creators::text[] is not null and t.created_by = r.creator
          and (:agents::text[] is null or t.agent = any(:agents::text[]) or t.agents && :agents::text[])
          and (t.status, t.task_id) < (s.status, b.before) and (t.status, t.task_id) >= (s.status, b.oldest)
          and (:since::timestamptz is null or t.created_at >= :since::timestamptz)
          and (:until::timestamptz is null or t.created_at < :until::timestamptz)
          and (:labels::jsonb = '{}' or t.labels @> :labels::jsonb)
          and (cardinality(:label_names::text[]) = 0 or (t.labels <> '{}' and t.labels ?& :label_names::text[]))
        order by t.status desc, t.task_id desc limit :scan_limit::integer + 1)
        union all
        (select t.task_id from ado.tasks t
        where :creators::text[] is null and :agents::text[] is not null and t.agent = a.agent
          and (t.status, t.task_id) < (s.status, b.before) and (t.status, t.task_id) >= (s.status, b.oldest)
          and (:since::timestamptz is null or t.created_at >= :since::timestamptz)
          and (:until::timestamptz is null or t.created_at < :until::timestamptz)
          and (:labels::jsonb = '{}' or t.labels @> :labels::jsonb)
          and (cardinality(:label_names::text[]) = 0 or (t.labels <> '{}' and t.labels ?& :label_names::text[]))
        order by t.status desc, t.task_id desc limit :scan_limit::integer + 1)
        union all
        (select t.task_id from ado.tasks t
        where :creators::text[] is null and :agents::text[] is not null
          and t.agents is not null and a.agent = any(t.agents)
          and (t.status, t.task_id) < (s.status, b.before) and (t.status, t.task_id) >= (s.status, b.oldest)
          and (:since::timestamptz is null or t.created_at >= :since::timestamptz)
          and (:until::timestamptz is null or t.created_at < :until::timestamptz)
          and (:labels::jsonb = '{}' or t.labels @> :labels::jsonb)
          and (cardinality(:label_names::text[]) = 0 or (t.labels <> '{}' and t.labels ?& :label_names::text[]))
        order by t.status desc, t.task_id desc limit :scan_limit::integer + 1)
    ) c
    order by c.task_id desc limit :scan_limit::integer + 1
), measured as (
    select t.*, row_number() over newest as position, count(*) over () as candidates,
           case when :search::text is null then 0
                else sum(octet_length(t.prompt)) over newest end as prompt_bytes
    from candidates join ado.tasks t using (task_id)
    window newest as (order by t.task_id desc)
), scanned as (
    select * from measured m
    where m.position <= :scan_limit::integer and (m.position = 1 or m.prompt_bytes <= :scan_bytes::bigint)
), scan as (
    select case when count(*) < coalesce(max(n.candidates), 0) then min(n.task_id) end as next from scanned n
), found as (
    select n.*, row_number() over newest as place,
           sum(least(octet_length(n.prompt), 4 * :prompt_chars::integer) + pg_column_size(n.labels)
               + 250 * n.workers) over newest as bytes
    from (
        select * from scanned n
        where :search::text is null or position(lower(:search::text) in lower(n.prompt)) > 0
           or exists (select from jsonb_each_text(n.labels) v
                      where position(lower(:search::text) in lower(v.key || '=' || v.value)) > 0)
        order by n.task_id desc limit :row_limit::integer + 1
    ) n
    window newest as (order by n.task_id desc)
), page as (
    select * from found f
    where f.place <= :row_limit::integer and (f.place = 1 or f.bytes <= :byte_limit::bigint)
), edge as (
    select case when (select count(*) from page) < (select count(*) from found) then (select min(task_id) from page)
                else s.next end as next
    from scan s
)
select e.next, f.task_id, f.status, f.reason, f.message, f.failed_job,
       left(f.prompt, :prompt_chars::integer) as prompt,
       octet_length(f.prompt) > octet_length(left(f.prompt, :prompt_chars::integer)) as prompt_cut, f.agent,
       null::json as agent_args, f.workers, f.requires, f.cpu, f.memory, f.gpu, f.priority, f.retries,
       f.timeout_seconds, f.start_within_seconds, f.start_by, f.labels, f.on_failure, f.version, f.created_at,
       f.started_at, f.finished_at, f.cancel_requested_at, f.agents, f.picked_job, l.last_seq,
       ado.account_name(f.created_by) as creator_name, f.trust_project, f.checks, f.budget,
       coalesce(v.names, '{}') as env_names, w.waits_for
from edge e
left join (page f join ado.task_logs l using (task_id) left join ado.task_environments v using (task_id)) on true
left join lateral (
    select array_agg('task-' || o.after_task_id order by o.after_task_id) as waits_for from (
        select d.after_task_id from ado.dependencies d
        where d.task_id = f.task_id and d.outcome is null and f.status in ('queued', 'paused')
        order by d.after_task_id limit 10
    ) o
) w on true
order by f.task_id desc;

-- name: pause_task :many hints
-- Hold a task. Queued jobs are paused at once. Running ones are marked, their workers are told to hand them back, and
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

-- name: retry_task :optional hints
-- Queue the failed and cancelled jobs again. If the task was cancelled before the ends that it waits for, or because of
-- them, it waits again. No row in each of these cases: there is nothing to retry; the user's queue
-- has no room; a cancel of the task, or of the siblings of a failed job, is still under way; the log is pruned, so
-- nothing can be added; the values of the environment were deleted; the task had input, which went with its
-- attempts; or a task that must succeed first has not.
with queue_room as materialized (  -- before the jobs are locked: claims take the locks in the same order
    select ado.queue_room(j.user_id) as room from ado.jobs j where j.task_id = :task_id::bigint and j.job = 0
), locked_jobs as materialized (
    select j.job, j.status from ado.jobs j
    where j.task_id = :task_id::bigint and j.status in ('failed', 'cancelled')
      and coalesce((select q.room from queue_room q), 2147483647) >= (
          select count(*) from ado.jobs f where f.task_id = :task_id::bigint and f.status in ('failed', 'cancelled'))
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

-- name: settle_tasks :many hints
-- Write the one terminal event of each task whose jobs have all ended. A task whose other jobs are all paused is paused
-- instead. A task that succeeded never runs again, so the values of its environment are deleted. The jobs are locked as well, so no retry comes in between; the second of two
-- settles finds the task settled and gets no row. ``offset 0`` has each task looked up by itself: a plan that was made
-- while the queue was short would read the whole queue.
with ended_tasks as materialized (
    select n.task_id from unnest(:task_ids::bigint[]) as n(task_id)
    where not exists (select from ado.jobs o where o.task_id = n.task_id and o.status in ('queued', 'running') offset 0)
), locked_jobs as materialized (
    select j.task_id, j.job, j.status, j.reason, j.message, j.exit_code, j.finished_seq
    from ado.jobs j join ended_tasks using (task_id)
    order by j.task_id, j.job for update of j
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
