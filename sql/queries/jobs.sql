-- name: claim_jobs :many hints
-- Give a worker the best jobs it can run. The worker's claim number is the guard against two claims of one worker at
-- once: the second one sees another number and gets no row. ``demands`` hops over the distinct demands in the queue.
-- ``token_digests`` has one digest for each job that may be given; ``position`` says whose is whose.
-- The worker of a pod makes one claim: of the pod's own job, or, if it is a warm one, of any.
with recursive demands as (
    (select j.demand, j.needs, j.cpu, j.memory, j.gpu from ado.jobs j
     where j.status = 'queued' order by j.demand limit 1)
    union all
    select n.demand, n.needs, n.cpu, n.memory, n.gpu from demands d
    cross join lateral (
        select j.demand, j.needs, j.cpu, j.memory, j.gpu from ado.jobs j
        where j.status = 'queued' and j.demand > d.demand order by j.demand limit 1
    ) n
), guarded_worker as (
    update ado.workers w set claims = w.claims + 1
    where w.worker_id = :worker_id::text and w.session = :session::text and w.claims = :claims::bigint
      and not w.draining and w.stopped_at is null
      and w.last_heartbeat_at >= now() - make_interval(secs => :suspect_seconds::double precision)
    returning w.*
), bound_pod as materialized (
    select p.task_id, p.job, case when p.claimed_at is null and p.state in ('wanted', 'placed') then 1 else 0 end as claims
    from guarded_worker w join ado.pods p on p.name = w.worker_id
), supply as materialized (
    select w.worker_id, w.capabilities,
           least(w.slots - held.jobs, :job_limit::bigint, (select b.claims from bound_pod b)) as free_slots,
           w.cpu - held.cpu as free_cpu, w.memory - held.memory as free_memory, w.gpu - held.gpu as free_gpu
    from guarded_worker w
    cross join lateral (
        select count(*) as jobs, coalesce(sum(j.cpu), 0) as cpu, coalesce(sum(j.memory), 0) as memory,
               coalesce(sum(j.gpu), 0) as gpu
        from ado.jobs j where j.worker_id = w.worker_id and j.status = 'running'
    ) held
), heads as materialized (
    select j.task_id, j.job, j.priority, j.cpu, j.memory, j.gpu
    from supply s
    join demands d on d.needs <@ s.capabilities and d.cpu <= s.free_cpu and d.memory <= s.free_memory
        and d.gpu <= s.free_gpu
    cross join lateral (
        select q.task_id, q.job, q.priority, q.cpu, q.memory, q.gpu from ado.jobs q
        where q.status = 'queued' and q.demand = d.demand and q.run_after <= now()
        order by q.priority desc, q.task_id, q.job
        limit greatest(s.free_slots, 0) for update skip locked
    ) j
    where not exists (select from bound_pod b where b.task_id is not null)
), own_job as materialized (
    select j.task_id, j.job, j.priority, j.cpu, j.memory, j.gpu
    from bound_pod b cross join supply s join ado.jobs j on j.task_id = b.task_id and j.job = b.job
    where j.status = 'queued' and j.run_after <= now() and j.needs <@ s.capabilities for update of j skip locked
), ranked as (
    select h.*, row_number() over best as position, sum(h.cpu) over best as used_cpu,
           sum(h.memory) over best as used_memory, sum(h.gpu) over best as used_gpu
    from (select * from heads union all select * from own_job) h
    window best as (order by h.priority desc, h.task_id, h.job rows unbounded preceding)
), claimed_jobs as (
    update ado.jobs j set status = 'running', attempt = j.attempt + 1, worker_id = s.worker_id,
        lease_expires_at = now() + make_interval(secs => :lease_seconds::double precision), last_batch = 0,
        output_bytes = 0, dropped_bytes = 0, missed_heartbeats = 0, started_at = now(), exit_code = null, reason = null,
        message = null, result = null, usage = null, token_digest = (:token_digests::bytea[])[r.position]
    from ranked r cross join supply s
    where j.task_id = r.task_id and j.job = r.job and r.position <= s.free_slots
      and r.used_cpu <= s.free_cpu and r.used_memory <= s.free_memory and r.used_gpu <= s.free_gpu
    returning j.task_id, j.job, j.attempt, j.worker_id, r.position
), used_pod as (
    update ado.pods p set claimed_at = now(), task_id = c.task_id, job = c.job, reason = null, reason_since = null
    from claimed_jobs c where p.name = c.worker_id
), locked_logs as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id in (select task_id from claimed_jobs) order by l.task_id for update
), written_events as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select c.task_id, l.last_seq + row_number() over (partition by c.task_id order by c.job), c.job, c.attempt,
           'started', now(), now(), json_build_object('workerId', c.worker_id)
    from claimed_jobs c join locked_logs l using (task_id)
    returning task_id, seq
), advanced_logs as (
    update ado.task_logs l set last_seq = w.seq
    from (select task_id, max(seq) as seq from written_events group by task_id) w
    where l.task_id = w.task_id
    returning l.task_id, l.last_seq
), started_tasks as (
    update ado.tasks t set status = 'running', started_at = coalesce(t.started_at, now())
    from advanced_logs a where t.task_id = a.task_id and t.status = 'queued'
)
select c.task_id, c.job, c.attempt, c.position, t.prompt, t.agent, t.agent_args::text as agent_args, t.requires,
       t.workers, t.timeout_seconds, t.workspace::text as workspace, v.environment::text as environment,
       (select string_agg('e:' || a.task_id || ':' || a.last_seq, ' ') from advanced_logs a) as hints
from claimed_jobs c
join ado.tasks t using (task_id)
left join ado.task_environments v using (task_id)
order by c.task_id, c.job;

-- name: end_attempts :many
-- End attempts whose worker will not: it was lost, replaced, or never got the claim's answer. A loss queues the job
-- again, the first time at once, then after two seconds, and at the limit fails it. Fenced by the attempt, and by the
-- lease where only overdue ones are meant. Returns what became of each.
with named as (
    select * from unnest(:task_ids::bigint[], :jobs::integer[], :attempts::integer[]) as n(task_id, job, attempt)
), locked_jobs as materialized (
    select j.task_id, j.job, j.attempt, j.worker_id, j.losses + :loss::integer as losses, j.stop_reason
    from ado.jobs j join named n on n.task_id = j.task_id and n.job = j.job and n.attempt = j.attempt
    where j.status = 'running' and (not :overdue_only::boolean or j.lease_expires_at < now())
    order by j.task_id, j.job for update of j
), decided as (
    select l.*,
           case when l.stop_reason = 'timed_out' then 'failed'
                when l.stop_reason is not null then 'cancelled'
                when l.losses >= c.losses then 'failed'
                else 'queued' end as status,
           case when l.stop_reason is not null then l.stop_reason
                when l.losses >= c.losses then 'lost' end as final_reason
    from locked_jobs l cross join ado.control c
), locked_logs as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id in (select task_id from decided) order by l.task_id for update
), numbered as (
    select d.*, l.last_seq + row_number() over (partition by d.task_id order by d.job) as seq
    from decided d join locked_logs l using (task_id)
), ended_jobs as (
    update ado.jobs j set status = n.status, lease_expires_at = null, losses = n.losses, reason = n.final_reason,
        run_after = now() + make_interval(secs => case when n.losses >= 2 then 2 else 0 end),
        message = case when n.final_reason = 'lost' then 'its worker was lost ' || n.losses || ' times' end,
        finished_at = case when n.status <> 'queued' then now() end,
        finished_seq = case when n.status <> 'queued' then n.seq end
    from numbered n where j.task_id = n.task_id and j.job = n.job
), written_events as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select n.task_id, n.seq, n.job, n.attempt, case n.status when 'queued' then 'requeued' else 'finished' end, now(),
           now(), case n.status
               when 'queued' then json_build_object('reason', :reason::text, 'workerId', n.worker_id,
                                                    'nextAttempt', n.attempt + 1)
               else json_build_object('outcome', n.status, 'reason', n.final_reason) end
    from numbered n
    returning task_id, seq
), advanced_logs as (
    update ado.task_logs l set last_seq = w.seq
    from (select task_id, max(seq) as seq from written_events group by task_id) w
    where l.task_id = w.task_id
    returning l.task_id, l.last_seq
), hints as (
    select 'e:' || task_id || ':' || last_seq as hint from advanced_logs
    union all
    select distinct 'w:' || worker_id from numbered
    union all
    select 'q:' || count(*) from numbered where status = 'queued' having count(*) > 0
), notified as materialized (
    select pg_notify('ado', string_agg(hint, ' ')) from hints having count(*) > 0
)
select n.task_id, n.job, n.attempt, n.worker_id, n.status, (select count(*) from notified) as notified from numbered n;

-- name: finish_job :optional hints
-- Close one attempt by its worker's word. The attempt is the fence; what was decided before (cancelled, timed out)
-- outranks what the worker reports; output not yet stored refuses it. No row: see get_job for why.
with locked_job as materialized (
    select j.* from ado.jobs j
    where j.task_id = :task_id::bigint and j.job = :job::integer and j.attempt = :attempt::integer
      and j.worker_id = :worker_id::text and j.status = 'running'
      and (:last_batch::bigint is null or j.last_batch >= :last_batch::bigint)
    for update
), decided as (
    select j.task_id, j.job, j.attempt, j.worker_id, j.failures, nullif(j.dropped_bytes, 0) as dropped_bytes,
           case when j.stop_reason = 'timed_out' then 'failed'
                when j.stop_reason is not null then 'cancelled'
                when :outcome::text = 'released' then 'queued'
                when :outcome::text = 'failed' and j.failures < t.retries then 'queued'
                else :outcome::text end as status,
           case when j.stop_reason is not null then j.stop_reason
                when :outcome::text = 'failed' then coalesce(:reason::text, 'agent_error')
                when :outcome::text = 'cancelled' then coalesce(:reason::text, 'cancelled')
                when :outcome::text = 'released' then :reason::text end as reason
    from locked_job j join ado.tasks t using (task_id)
), locked_log as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id in (select task_id from decided) for update
), finished_job as (
    update ado.jobs j set status = d.status, finished_attempt = j.attempt, lease_expires_at = null,
        failures = j.failures + case when d.status = 'queued' and :outcome::text = 'failed' then 1 else 0 end,
        run_after = now(), exit_code = :exit_code::integer, reason = d.reason, message = :message::text,
        result = :result::json, usage = :usage::json,
        finished_at = case when d.status <> 'queued' then now() end,
        finished_seq = case when d.status <> 'queued' then l.last_seq + 1 end
    from decided d join locked_log l using (task_id)
    where j.task_id = d.task_id and j.job = d.job
    returning j.*
), recorded_usage as (
    insert into ado.attempt_usage (task_id, job, attempt, agent, at, input_tokens, output_tokens, cache_read_tokens,
        cache_write_tokens, cost_usd)
    select d.task_id, d.job, d.attempt, t.agent, now(), n.input_tokens, n.output_tokens, n.cache_read_tokens,
           n.cache_write_tokens, n.cost_usd
    from decided d join ado.tasks t using (task_id)
    cross join lateral (
        select max(e.value::text::numeric) filter (where e.key = 'inputTokens') as input_tokens,
               max(e.value::text::numeric) filter (where e.key = 'outputTokens') as output_tokens,
               max(e.value::text::numeric) filter (where e.key = 'cacheReadTokens') as cache_read_tokens,
               max(e.value::text::numeric) filter (where e.key = 'cacheWriteTokens') as cache_write_tokens,
               max(e.value::text::numeric) filter (where e.key = 'costUsd') as cost_usd
        from json_each(case when json_typeof(:usage::json) = 'object' then :usage::json end) e
        where json_typeof(e.value) = 'number'
    ) n
    where :usage::json is not null
), written_event as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select d.task_id, l.last_seq + 1, d.job, d.attempt,
           case when d.status <> 'queued' then 'finished' when :outcome::text = 'released' then 'released'
                else 'requeued' end, now(), now(),
           json_strip_nulls(case
               when d.status <> 'queued' then json_build_object('outcome', d.status, 'exitCode', :exit_code::integer,
                   'reason', d.reason, 'message', :message::text, 'usage', :usage::json,
                   'droppedBytes', d.dropped_bytes)
               when :outcome::text = 'released' then json_build_object('reason', :reason::text,
                   'message', :message::text)
               else json_build_object('reason', d.reason, 'workerId', d.worker_id, 'nextAttempt', d.attempt + 1,
                   'exitCode', :exit_code::integer, 'message', :message::text, 'usage', :usage::json,
                   'droppedBytes', d.dropped_bytes) end)
    from decided d join locked_log l using (task_id)
), advanced_log as (
    update ado.task_logs l set last_seq = l.last_seq + 1 from decided d where l.task_id = d.task_id
    returning l.task_id, l.last_seq
)
select f.*, t.on_failure,
       (select 'e:' || a.task_id || ':' || a.last_seq || case d.status when 'queued' then ' q:1' else '' end
        from advanced_log a cross join decided d) as hints
from finished_job f join ado.tasks t using (task_id);

-- name: get_job :optional
select j.* from ado.jobs j where j.task_id = :task_id::bigint and j.job = :job::integer;

-- name: held_jobs :many
-- What a worker holds, for its command stream and for replacing its process.
select task_id, job, attempt, stop_reason from ado.jobs
where worker_id = :worker_id::text and status = 'running' order by task_id, job;

-- name: overdue_jobs :many
-- Leases that ran out. Not believed while the control plane itself has not ticked for a while: then the gap comes first.
select j.task_id, j.job, j.attempt from ado.jobs j
where j.status = 'running' and j.lease_expires_at < now()
  and (select c.last_tick_at from ado.control c) > now() - make_interval(secs => :suspect_seconds::double precision)
order by j.task_id, j.job limit 500;

-- name: abandoned_jobs :many
-- What a worker still holds although it has said that it ended: its last claim and its last word crossed.
select j.task_id, j.job, j.attempt from ado.jobs j join ado.workers w using (worker_id)
where j.status = 'running' and w.stopped_at is not null
order by j.task_id, j.job limit 500;

-- name: ready_demands :many
-- What waits in the queue, by demand; each counted only so far, because it decides how many parked claims to wake.
with recursive demands as (
    (select j.demand, j.needs, j.cpu, j.memory, j.gpu from ado.jobs j
     where j.status = 'queued' order by j.demand limit 1)
    union all
    select n.demand, n.needs, n.cpu, n.memory, n.gpu from demands d
    cross join lateral (
        select j.demand, j.needs, j.cpu, j.memory, j.gpu from ado.jobs j
        where j.status = 'queued' and j.demand > d.demand order by j.demand limit 1
    ) n
)
select d.needs, d.cpu, d.memory, d.gpu, ready.jobs
from demands d
cross join lateral (
    select count(*) as jobs from (
        select from ado.jobs j where j.status = 'queued' and j.demand = d.demand and j.run_after <= now()
        limit :count_limit::integer
    ) counted
) ready
where ready.jobs > 0;

-- name: time_out_jobs :many
-- Mark running attempts that are past their time; their workers are told, as for a cancel.
with overdue as materialized (
    select j.task_id, j.job from ado.jobs j join ado.tasks t using (task_id)
    where j.status = 'running' and j.stop_reason is null and t.timeout_seconds is not null
      and j.started_at < now() - make_interval(secs => t.timeout_seconds)
    order by j.task_id, j.job for update of j skip locked
), marked_jobs as (
    update ado.jobs j set stop_reason = 'timed_out', stop_requested_at = now()
    from overdue o where j.task_id = o.task_id and j.job = o.job
    returning j.worker_id
), notified as materialized (
    select pg_notify('ado', string_agg(distinct 'w:' || worker_id, ' ')) from marked_jobs having count(*) > 0
)
select m.worker_id, (select count(*) from notified) as notified from marked_jobs m;
