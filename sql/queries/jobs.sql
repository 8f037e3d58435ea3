-- name: claim_jobs :many hints
-- Give a worker the best jobs it can run. The worker's claim number guards against two claims of one worker at once:
-- the second claim carries an old number and gets no row. A claim that passes the guard and finds nothing gets one row
-- without a job.
-- take_heads decides whose turn it is and what the limits of users allow. It sees what was committed after this
-- statement began, so this statement may read an older version of a job, one that had ended. Therefore every column
-- under a check is set: Postgres checks the new row before it notices the newer version.
-- ``token_digests`` has one digest for each job that may be claimed. ``credential_digests`` has the same if the worker
-- asked for credentials, else it is null. ``position`` says which digest belongs to which job.
-- The worker of a pod makes one claim: of the pod's own job, or, if the pod is a warm one, of any job.
-- A job of an unhealthy agent is claimed only to try the agent, and that is noted.
with guarded_worker as (
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
           least(w.slots - (select count(*) from ado.jobs j where j.worker_id = w.worker_id and j.status = 'running'),
                 :job_limit::bigint, (select b.claims from bound_pod b)) as free_slots,
           w.cpu - held.cpu as free_cpu, w.memory - held.memory as free_memory, w.gpu - held.gpu as free_gpu
    from guarded_worker w
    cross join lateral (  -- by an index of its own: most jobs hold nothing
        select coalesce(sum(j.cpu), 0) as cpu, coalesce(sum(j.memory), 0) as memory, coalesce(sum(j.gpu), 0) as gpu
        from ado.jobs j
        where j.worker_id = w.worker_id and j.status = 'running' and (j.cpu > 0 or j.memory > 0 or j.gpu > 0)
    ) held
), heads as materialized (
    select h.*
    from supply s
    cross join lateral ado.take_heads(s.capabilities, s.free_cpu, s.free_memory, s.free_gpu, greatest(s.free_slots, 0))
        with ordinality as h(task_id, job, priority, cpu, memory, gpu, turn)
    where not exists (select from bound_pod b where b.task_id is not null)
), own_job as materialized (
    select j.task_id, j.job, j.priority, j.cpu, j.memory, j.gpu, 1 as turn
    from bound_pod b cross join supply s join ado.jobs j on j.task_id = b.task_id and j.job = b.job
    where j.status = 'queued' and j.run_after <= now() and ado.may_start(j.user_id) and ado.may_try(j.needs)
      and ado.lacks(j.needs, j.cpu, j.memory, j.gpu, s.capabilities, s.free_cpu, s.free_memory, s.free_gpu) = '{}'
    for update of j skip locked
), ranked as (
    select h.*, row_number() over best as position, sum(h.cpu) over best as used_cpu,
           sum(h.memory) over best as used_memory, sum(h.gpu) over best as used_gpu
    from (select * from heads union all select * from own_job) h
    window best as (order by h.turn rows unbounded preceding)
), claimed_jobs as (
    update ado.jobs j set status = 'running', attempt = j.attempt + 1, worker_id = s.worker_id,
        lease_expires_at = now() + make_interval(secs => :lease_seconds::double precision), last_batch = 0,
        output_bytes = 0, dropped_bytes = 0, missed_heartbeats = 0, started_at = now(), finished_at = null,
        finished_seq = null, exit_code = null, reason = null, message = null, result = null, usage = null,
        token_digest = (:token_digests::bytea[])[r.position],
        credential_digest = (:credential_digests::bytea[])[r.position]
    from ranked r cross join supply s
    where j.task_id = r.task_id and j.job = r.job and r.position <= s.free_slots
      and r.used_cpu <= s.free_cpu and r.used_memory <= s.free_memory and r.used_gpu <= s.free_gpu
    returning j.task_id, j.job, j.attempt, j.worker_id, r.position, j.continues, j.needs
), used_pod as (
    update ado.pods p set claimed_at = now(), task_id = c.task_id, job = c.job,
        reason = null, message = null, reason_since = null
    from claimed_jobs c where p.name = c.worker_id
), locked_logs as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id in (select task_id from claimed_jobs) order by l.task_id for update
), written_events as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select c.task_id, l.last_seq + row_number() over (partition by c.task_id order by c.job), c.job, c.attempt,
           'started', now(), now(), json_build_object('workerId', c.worker_id)
    from claimed_jobs c join locked_logs l using (task_id)
    returning task_id, seq, job
), advanced_logs as (
    update ado.task_logs l set last_seq = w.seq
    from (select task_id, max(seq) as seq, min(job) as first_job from written_events group by task_id) w
    where l.task_id = w.task_id
    returning l.task_id, l.last_seq, w.first_job
), noted_probes as (
    update ado.agent_failures f set task_id = c.task_id, job = c.job, attempt = c.attempt, seq = a.last_seq,
        probes = f.probes + 1, probe_after = now() + ado.probe_delay(f.probes + 1)
    from claimed_jobs c join advanced_logs a using (task_id) cross join ado.unhealthy_agents u
    where f.agent = u.agent and ado.needs_one_of(c.needs, array[u.agent])
), started_tasks as (
    update ado.tasks t set started_at = coalesce(t.started_at, now()),
        status = case t.status when 'queued' then 'running' else t.status end  -- an older version may say failed
    from advanced_logs a where t.task_id = a.task_id and t.status <> 'running'
)
select c.task_id, c.job, c.attempt, c.position, t.prompt, ado.job_agent(t.agent, t.agents, c.job) as agent,
       t.agent_args::text as agent_args, t.requires,
       t.trust_project, t.workers, c.continues, t.checks::text as checks, t.budget::text as budget,
       case when t.budget is not null then ado.budget_spent(c.task_id, c.job)::text end as spent,
       (select count(*) from ado.message_jobs m where m.task_id = c.task_id and m.job = c.job) as messages,
       t.timeout_seconds, t.workspace::text as workspace, v.environment::text as environment, v.sealed,
       case when c.job = a.first_job then array['e:' || a.task_id || ':' || a.last_seq] end as hints
from guarded_worker w
left join claimed_jobs c on true
left join advanced_logs a using (task_id)
left join ado.tasks t using (task_id)
left join ado.task_environments v using (task_id)
order by c.task_id, c.job;

-- name: end_attempts :many hints
-- End attempts whose workers do not: a worker was lost, was replaced, or never got the answer to its claim. A loss
-- queues the job again, the first time at once, later after two seconds, and at the limit fails it. Each such end is
-- also an interruption. Interruptions have a delay and a limit of their own, for jobs that are never lost but never get
-- anywhere. A job that somebody wants paused is paused instead, and counts neither. Fenced by the attempt, and with
-- ``overdue_only`` by the lease. Returns the outcome of each.
with named as (
    select * from unnest(:task_ids::bigint[], :jobs::integer[], :attempts::integer[]) as n(task_id, job, attempt)
), locked_jobs as materialized (
    select j.task_id, j.job, j.attempt, j.worker_id, j.stop_reason, j.pause_requested_at is not null as is_pausing,
           j.losses + case when j.pause_requested_at is null then :loss::integer else 0 end as losses,
           j.interruptions + case when j.pause_requested_at is null then 1 else 0 end as interruptions
    from ado.jobs j join named n on n.task_id = j.task_id and n.job = j.job and n.attempt = j.attempt
    where j.status = 'running' and (not :overdue_only::boolean or j.lease_expires_at < now())
    order by j.task_id, j.job for update of j
), decided as (
    select l.*,
           case when l.stop_reason = 'timed_out' then 'failed'
                when l.stop_reason is not null then 'cancelled'
                when l.is_pausing then 'paused'
                when l.losses >= c.losses or l.interruptions >= c.attempts then 'failed'
                else 'queued' end as status,
           case when l.stop_reason is not null then l.stop_reason
                when l.is_pausing then 'paused'
                when l.losses >= c.losses then 'lost'
                when l.interruptions >= c.attempts then 'too_many_attempts' end as final_reason,
           case when l.stop_reason is not null or l.is_pausing then null
                when l.losses >= c.losses then 'its worker was lost ' || l.losses || ' times'
                when l.interruptions >= c.attempts then l.interruptions
                    || ' attempts ended without a result of the agent, the last one: ' || :reason::text end as message
    from locked_jobs l cross join (select losses, attempts from ado.control limit 1) c
), locked_logs as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id in (select task_id from decided) order by l.task_id for update
), numbered as (
    select d.*, d.status in ('queued', 'paused') as goes_on,
           l.last_seq + row_number() over (partition by d.task_id order by d.job) as seq
    from decided d join locked_logs l using (task_id)
), ended_jobs as (
    update ado.jobs j set status = n.status, lease_expires_at = null, losses = n.losses,
        interruptions = n.interruptions, reason = n.final_reason, message = n.message,
        run_after = now() + greatest(make_interval(secs => case when n.losses >= 2 then 2 else 0 end),
                                     ado.interruption_delay(n.interruptions)),
        pause_requested_at = case when n.goes_on then j.pause_requested_at end,
        finished_at = case when not n.goes_on then now() end,
        finished_seq = case when not n.goes_on then n.seq end
    from numbered n where j.task_id = n.task_id and j.job = n.job
), written_events as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select n.task_id, n.seq, n.job, n.attempt, case when n.goes_on then 'requeued' else 'finished' end, now(),
           now(), json_strip_nulls(case
               when n.goes_on then json_build_object('reason', :reason::text, 'workerId', n.worker_id, 'nextAttempt',
                   n.attempt + 1, 'paused', case when n.status = 'paused' then true end)
               else json_build_object('outcome', n.status, 'reason', n.final_reason, 'message', n.message) end)
    from numbered n
    returning task_id, seq
), advanced_logs as (
    update ado.task_logs l set last_seq = w.seq
    from (select task_id, max(seq) as seq from written_events group by task_id) w
    where l.task_id = w.task_id
)
select n.task_id, n.job, n.attempt, n.worker_id, n.status, t.on_failure,
       array['e:' || n.task_id || ':' || n.seq, 'w:' || n.worker_id]
           || case n.status when 'queued' then array['q:1'] end as hints
from numbered n join ado.tasks t using (task_id);

-- name: finish_jobs :many hints
-- Close attempts as their workers report it, each job once. Fenced by the attempt. An earlier decision (cancelled,
-- timed out) outranks the report. A report is refused if output is not stored yet, or without the attempt's credential.
-- An attempt that was handed back is an interruption, see end_attempts, unless it was to be paused. A job that would be
-- queued again is paused if somebody wants that. One that was handed back because of a question is paused for it, also if
-- the answer has just come: resume_answered_jobs queues it. One that was handed back for a rate limit is not claimed
-- before that is over, and as an interruption it can be so only so often. No row for a job: get_job says why.
-- The end also says whether the agent is well: one that fails again and again before it does anything is tried by one job
-- at a time (ado.unhealthy_agents). Without ``health`` in the report its outcome and reason decide.
-- A job whose agent has not taken a message that was sent in this attempt continues with the next one. A message that
-- was stored while this statement waited for the job's row is not visible here, but its id in the row is.
-- ``limit 1``: without statistics the planner would take ado.control, which has one row, for hundreds.
with reports as materialized (
    select r.task_id, r.job, r.attempt, r.worker_id, r.last_batch, r.outcome, r.exit_code, r.reason, r.message,
           r.result::json, r.usage::json, r.credential, r.health,
           make_interval(secs => case when r.outcome = 'released' and r.reason = 'rate_limit'
                                      then coalesce(r.after_seconds, 0) else 0 end) as pause
    from unnest(:task_ids::bigint[], :jobs::integer[], :attempts::integer[], :worker_ids::text[],
        :last_batches::bigint[], :outcomes::text[], :exit_codes::integer[], :reasons::text[], :messages::text[],
        :results::text[], :usages::text[], :credentials::bytea[], :healths::text[], :after_seconds::double precision[])
        as r(task_id, job, attempt, worker_id, last_batch, outcome, exit_code, reason, message, result, usage, credential,
             health, after_seconds)
), locked_jobs as materialized (
    select r.*, j.user_id, j.failures, j.interruptions + case when p.is_interruption then 1 else 0 end as interruptions,
           p.is_interruption, p.is_held, j.pause_requested_at is not null as is_pausing, j.stop_reason,
           nullif(j.dropped_bytes, 0) as dropped_bytes,
           case when j.last_message_id is not null then coalesce(
               (select min(m.message_id) from ado.message_jobs m where m.task_id = j.task_id and m.job = j.job
                and m.sent_in = j.attempt and m.delivered_at is null),
               case when not exists (select from ado.message_jobs m where m.message_id = j.last_message_id)
                   then j.last_message_id end
           ) end as message_id
    from ado.jobs j join reports r on r.task_id = j.task_id and r.job = j.job
    cross join lateral (
        select r.outcome = 'released' and r.reason = 'question' and exists (
            select from ado.questions q
            where q.task_id = j.task_id and q.job = j.job and q.attempt = j.attempt) as is_held
    ) q
    cross join lateral (
        select q.is_held, r.outcome = 'released' and j.pause_requested_at is null and not q.is_held
               and r.reason is distinct from 'paused' as is_interruption  -- it may have been resumed meanwhile
    ) p
    where j.attempt = r.attempt and j.worker_id = r.worker_id and j.status = 'running'
      and (r.last_batch is null or j.last_batch >= r.last_batch)
      and (j.credential_digest is null or j.credential_digest = r.credential)
    order by j.task_id, j.job for update of j
), decided as (
    select l.task_id, l.job, l.attempt, l.worker_id, l.outcome, l.exit_code, l.result, l.usage, l.pause,
           l.dropped_bytes, l.interruptions, l.user_id, ado.job_agent(t.agent, t.agents, l.job) as agent,
           l.message_id, l.is_pausing, l.is_held, l.reason as reported, l.health,
           case when l.stop_reason = 'timed_out' then 'failed'
                when l.stop_reason is not null then 'cancelled'
                when l.is_interruption and l.interruptions >= c.attempts then 'failed'
                when l.outcome = 'released' then 'queued'
                when l.outcome = 'failed' and l.failures < t.retries
                    and coalesce(l.reason, '') not in ('input_lost', 'budget_exceeded') then 'queued'
                when l.outcome in ('succeeded', 'failed') and l.message_id is not null
                    and coalesce(l.reason, '') not in ('input_lost', 'budget_exceeded') then 'continued'
                else l.outcome end as verdict,
           case when l.stop_reason is not null then l.stop_reason
                when l.outcome = 'failed' then coalesce(l.reason, 'agent_error')
                when l.outcome = 'cancelled' then coalesce(l.reason, 'cancelled')
                when l.is_interruption and l.interruptions >= c.attempts then 'too_many_attempts'
                when l.outcome = 'released' then l.reason end as reason,
           case when l.is_interruption and l.interruptions >= c.attempts and l.stop_reason is null
                then l.interruptions || ' attempts ended without a result of the agent, the last one: '
                    || concat_ws(': ', l.reason, l.message)
                else l.message end as message
    from locked_jobs l join ado.tasks t using (task_id) cross join (select attempts from ado.control limit 1) c
), locked_logs as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id in (select task_id from decided) order by l.task_id for update
), numbered as materialized (
    select d.*, d.verdict in ('queued', 'continued') as goes_on,
           case when d.verdict not in ('queued', 'continued') then d.verdict
                when d.is_pausing or d.is_held then 'paused' else 'queued' end as status,
           l.last_seq + row_number() over (partition by d.task_id order by d.job) as seq
    from decided d join locked_logs l using (task_id)
), finished_jobs as (
    update ado.jobs j set status = n.status, finished_attempt = j.attempt, lease_expires_at = null,
        failures = j.failures + case when n.verdict = 'queued' and n.outcome = 'failed' then 1 else 0 end,
        interruptions = n.interruptions, continues = j.continues or n.verdict = 'continued',
        run_after = now() + case n.outcome
            when 'released' then greatest(n.pause, ado.interruption_delay(n.interruptions)) else interval '0' end,
        exit_code = n.exit_code, reason = case when n.status = 'paused' and not n.is_held then 'paused' else n.reason end,
        message = n.message, result = n.result, usage = n.usage,
        pause_requested_at = case when n.goes_on then j.pause_requested_at end,
        finished_at = case when not n.goes_on then now() end,
        finished_seq = case when not n.goes_on then n.seq end
    from numbered n where j.task_id = n.task_id and j.job = n.job
    returning j.*, n.seq
), dropped_inputs as (
    delete from ado.inputs i using numbered n
    where i.task_id = n.task_id and i.job = n.job and not n.goes_on
), used as materialized (
    select d.task_id, d.job, d.attempt, d.agent, d.user_id, n.*
    from decided d
    cross join lateral (
        select max(e.value::text::numeric) filter (where e.key = 'inputTokens') as input_tokens,
               max(e.value::text::numeric) filter (where e.key = 'outputTokens') as output_tokens,
               max(e.value::text::numeric) filter (where e.key = 'cacheReadTokens') as cache_read_tokens,
               max(e.value::text::numeric) filter (where e.key = 'cacheWriteTokens') as cache_write_tokens,
               max(e.value::text::numeric) filter (where e.key = 'costUsd') as cost_usd,
               max(e.value::text::numeric) filter (where e.key = 'turns') as turns
        from json_each(case when json_typeof(d.usage) = 'object' then d.usage end) e
        where json_typeof(e.value) = 'number'
    ) n
    where d.usage is not null
), recorded_usage as (
    insert into ado.attempt_usage (task_id, job, attempt, agent, at, input_tokens, output_tokens, cache_read_tokens,
        cache_write_tokens, cost_usd, turns, user_id)
    select u.task_id, u.job, u.attempt, u.agent, now(), u.input_tokens, u.output_tokens, u.cache_read_tokens,
           u.cache_write_tokens, u.cost_usd, u.turns, u.user_id
    from used u
), noted as (
    -- Agents report the amounts; negative and impossible ones are not counted.
    insert into ado.metric_notes (measure, agent, kind, amount)
    select n.measure, u.agent, n.kind, least(n.amount, 1e12)
    from used u cross join lateral (values
        ('tokens', 'input', u.input_tokens), ('tokens', 'output', u.output_tokens),
        ('tokens', 'cache_read', u.cache_read_tokens), ('tokens', 'cache_write', u.cache_write_tokens),
        ('cost', '', u.cost_usd)
    ) n(measure, kind, amount)
    where n.amount > 0
), judged as (
    select n.agent, n.task_id, n.job, n.attempt, n.reported, coalesce(n.health, case
               when n.outcome = 'succeeded' then 'well'
               when n.outcome = 'failed' and n.reported = 'auth' then 'ill'
               when n.outcome = 'failed' and n.reported = 'agent_error'
                   and coalesce(u.input_tokens, 0) + coalesce(u.output_tokens, 0) = 0 then 'ill' end) as health
    from numbered n left join used u using (task_id, job) where n.agent <> 'shell'
), noted_health as (  -- agent by agent in order: two of these statements never wait for each other
    insert into ado.agent_failures as f (agent, failures, reason, task_id, job, attempt, probe_after)
    select e.agent, e.failures, coalesce(e.reported, ''), e.task_id, e.job, e.attempt, now() + ado.probe_delay(0)
    from (
        select distinct on (j.agent) j.*,
               case when bool_or(j.health = 'well') over ends then 0 else count(*) over ends end as failures
        from judged j where j.health in ('well', 'ill')
        window ends as (partition by j.agent) order by j.agent, j.health, j.task_id desc, j.job desc
    ) e cross join (select agent_breaker from ado.control limit 1) c
    where c.agent_breaker > 0 and (e.failures > 0 or exists (
        select from ado.agent_failures k where k.agent = e.agent and k.failures > 0))
    order by e.agent
    on conflict (agent) do update set failures = case excluded.failures when 0 then 0 else f.failures + excluded.failures end,
        reason = case excluded.failures when 0 then f.reason else excluded.reason end,
        since = case f.failures when 0 then now() else f.since end,
        failed_at = case excluded.failures when 0 then f.failed_at else now() end,
        task_id = case f.probes when 0 then excluded.task_id else f.task_id end,
        job = case f.probes when 0 then excluded.job else f.job end,
        attempt = case f.probes when 0 then excluded.attempt else f.attempt end,
        probes = case excluded.failures when 0 then 0 else f.probes end,
        probe_after = now() + ado.probe_delay(f.probes)
    returning f.failures
), written_events as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select n.task_id, n.seq, n.job, n.attempt,
           case when n.verdict = 'continued' then 'continued' when not n.goes_on then 'finished'
                when n.outcome = 'released' then 'released' else 'requeued' end, now(), now(),
           json_strip_nulls(case
               when n.verdict = 'continued' then json_build_object('messageId', 'message-' || n.message_id, 'by',
                   (select m.sender_name from ado.messages m where m.message_id = n.message_id),
                   'exitCode', n.exit_code, 'reason', n.reason, 'message', n.message, 'usage', n.usage,
                   'droppedBytes', n.dropped_bytes, 'paused', k.is_paused)
               when not n.goes_on then json_build_object('outcome', n.status, 'exitCode', n.exit_code,
                   'reason', n.reason, 'message', n.message, 'usage', n.usage, 'droppedBytes', n.dropped_bytes)
               when n.outcome = 'released' then json_build_object('reason', n.reason, 'message', n.message,
                   'paused', k.is_paused)
               else json_build_object('reason', n.reason, 'workerId', n.worker_id, 'nextAttempt', n.attempt + 1,
                   'exitCode', n.exit_code, 'message', n.message, 'usage', n.usage,
                   'droppedBytes', n.dropped_bytes, 'paused', k.is_paused) end)
    from numbered n cross join lateral (select case when n.status = 'paused' then true end as is_paused) k
), advanced_logs as (
    update ado.task_logs l set last_seq = n.seq
    from (select task_id, max(seq) as seq from numbered group by task_id) n where l.task_id = n.task_id
)
select f.*, ado.job_agent(t.agent, t.agents, f.job) as agent, t.on_failure,
       array['e:' || f.task_id || ':' || f.seq] || case
           when f.status = 'queued' or exists (select from noted_health h where h.failures = 0) then array['q:1'] end as hints
from finished_jobs f join ado.tasks t using (task_id);

-- name: get_job :optional
select j.*, ado.job_agent(t.agent, t.agents, j.job) as agent
from ado.jobs j join ado.tasks t using (task_id) where j.task_id = :task_id::bigint and j.job = :job::integer;

-- name: attempt_credential :optional
-- The digest that fences the end of an attempt, for a spawner that has seen the attempt's pod die.
select credential_digest from ado.jobs
where task_id = :task_id::bigint and job = :job::integer and attempt = :attempt::integer;

-- name: held_jobs :many
-- The running jobs of a worker, for its command stream and for replacing its process. ``command``: what the worker must
-- do with it. ``is_guarded``: the attempt writes with a credential.
select task_id, job, attempt, credential_digest is not null as is_guarded,
       case when stop_reason is not null then 'cancel' when pause_requested_at is not null then 'pause' end as command
from ado.jobs
where worker_id = :worker_id::text and status = 'running' order by task_id, job;

-- name: ready_demands :many
-- What can be claimed now, by demand. Each is counted up to a limit, because the count decides how many waiting claims
-- to wake. With ``in_all`` no more jobs than that are counted, as many of each demand.
select needs, cpu, memory, gpu, jobs
from ado.ready_demands(:offered::text[], :count_limit::bigint, :cpu::double precision, :memory::numeric,
    :gpu::double precision, :in_all::bigint);
