-- name: send_message :optional hints
-- Store a message for one job, or for all jobs that have not been cancelled or are being stopped, and write its event.
-- A job that has ended is queued again and continues; with ``open_only`` it is left out. No row in each of these cases: no job can take the message; the
-- agent takes none; the log is pruned; a limit is reached; an ended job cannot continue; or the idempotency key is
-- taken. An ended job can continue if a checkpoint of it is kept, the values of the environment are there, it had no
-- input, and the user's queue has room.
-- ``sent_in`` is taken from the locked row of the job, so no claim and no finish can come in between.
with queue_room as materialized (  -- before the jobs are locked: claims take the locks in the same order
    select ado.queue_room(j.user_id) as room from ado.jobs j where j.task_id = :task_id::bigint and j.job = 0
), locked_jobs as materialized (
    select j.task_id, j.job, j.status, j.attempt, j.worker_id, j.stop_reason,
           (select q.room from queue_room q) as room
    from ado.jobs j
    where j.task_id = :task_id::bigint and exists (
        select from ado.tasks t where t.task_id = j.task_id and ado.job_agent(t.agent, t.agents, j.job) <> 'shell')
      and (:job::integer is null or j.job = :job::integer)
    order by j.job for update of j
), recipients as materialized (
    select l.*, l.status in ('succeeded', 'failed') as has_ended from locked_jobs l
    where l.status <> 'cancelled' and (l.status <> 'running' or l.stop_reason is null)
      and (not :open_only::boolean or l.status not in ('succeeded', 'failed'))
), locked_log as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id = :task_id::bigint and (select count(*) from recipients) > 0 for update
), checked_task as materialized (
    select t.task_id, l.last_seq from ado.tasks t join locked_log l using (task_id)
    where not exists (select from ado.log_ranges r where r.from_task_id <= t.task_id and t.task_id < r.to_task_id
                      and r.pruned_at is not null)
      and (select count(*) from ado.messages m where m.task_id = t.task_id) < :task_limit::bigint
      and (select count(*) from ado.messages m where m.task_id = t.task_id
           and m.sender is not distinct from :actor::json ->> 'account'
           and exists (select from ado.message_jobs w where w.message_id = m.message_id and w.delivered_at is null))
          < :waiting_limit::bigint
      and (not exists (select from recipients r where r.has_ended) or (
          coalesce((select min(r.room) from recipients r), 2147483647)
              >= (select count(*) from recipients r where r.has_ended)
          and not exists (select from ado.task_environments v where v.task_id = t.task_id and v.forgotten_at is not null)
          and 'input:stdin' <> all(t.requires)
          and not exists (
              select from recipients r where r.has_ended and not exists (
                  select from ado.files f where f.task_id = r.task_id and f.job = r.job and f.kind = 'checkpoint'
                    and f.completed_at is not null))
          and not (t.on_failure = 'fail_fast' and exists (
              select from ado.jobs j where j.task_id = t.task_id and j.status = 'failed'
                and j.job not in (select r.job from recipients r)))))
), stored as (
    insert into ado.messages (task_id, job, text, sender, sender_name, idempotency_key, created_at)
    select c.task_id, :job::integer, :text::text, :actor::json ->> 'account',
           :actor::json ->> 'name', :idempotency_key::text, clock_timestamp()
    from checked_task c
    on conflict (task_id, idempotency_key) do nothing
    returning *
), addressed as (
    insert into ado.message_jobs (message_id, task_id, job, sent_in)
    select s.message_id, r.task_id, r.job, case r.status when 'running' then r.attempt end
    from stored s cross join recipients r
), reopened_task as (
    update ado.tasks t set finished_at = null, reason = null, message = null, failed_job = null,
        start_by = now() + make_interval(secs => t.start_within_seconds),
        status = case when t.status = 'running' then 'running' else 'queued' end
    from stored s
    where t.task_id = s.task_id and exists (select from recipients r where r.has_ended)
), told_jobs as (
    update ado.jobs j set last_message_id = s.message_id,
        status = case when r.has_ended then 'queued' else j.status end,
        continues = j.continues or r.has_ended,
        finished_at = case when not r.has_ended then j.finished_at end,
        finished_seq = case when not r.has_ended then j.finished_seq end,
        exit_code = case when not r.has_ended then j.exit_code end,
        reason = case when not r.has_ended then j.reason end,
        message = case when not r.has_ended then j.message end,
        result = case when not r.has_ended then j.result end,
        losses = case when r.has_ended then 0 else j.losses end,
        failures = case when r.has_ended then 0 else j.failures end,
        interruptions = case when r.has_ended then 0 else j.interruptions end,
        run_after = case when r.has_ended then now() else j.run_after end,
        stop_reason = case when not r.has_ended then j.stop_reason end,
        stop_requested_at = case when not r.has_ended then j.stop_requested_at end,
        worker_id = case when not r.has_ended then j.worker_id end,
        lease_expires_at = case when not r.has_ended then j.lease_expires_at end
    from stored s cross join recipients r
    where j.task_id = r.task_id and j.job = r.job
), written_events as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select s.task_id, c.last_seq + 1, :job::integer, null, 'message', now(), now(),
           json_strip_nulls(json_build_object('messageId', 'message-' || s.message_id, 'text', s.text,
                                              'by', s.sender_name))
    from stored s cross join checked_task c
    union all
    select s.task_id, c.last_seq + 1 + row_number() over (order by r.job), r.job, r.attempt, 'continued', now(), now(),
           json_strip_nulls(json_build_object('by', s.sender_name, 'messageId', 'message-' || s.message_id))
    from stored s cross join checked_task c join recipients r on r.has_ended
    returning task_id, seq
), advanced_log as (
    update ado.task_logs l set last_seq = w.seq
    from (select task_id, max(seq) as seq from written_events group by task_id) w
    where l.task_id = w.task_id
    returning l.task_id, l.last_seq
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, 'task-' || s.task_id from stored s cross join ado.audit_actor(:actor::json) a
)
select s.message_id, array['e:' || a.task_id || ':' || a.last_seq]
       || array(select distinct 'w:' || r.worker_id from recipients r where r.status = 'running')
       || case when exists (select from recipients r where r.has_ended)
               then array['q:' || (select count(*) from recipients r where r.has_ended)] end as hints
from stored s join advanced_log a using (task_id);

-- name: deliver_messages :optional hints
-- Write the receipts of messages that the running attempt's agent has taken; one that is there stays as it is. No row:
-- the attempt does not run, or does not write with its credential.
with held as materialized (
    select j.task_id, j.job, j.attempt from ado.jobs j
    where j.task_id = :task_id::bigint and j.job = :job::integer and j.attempt = :attempt::integer
      and j.worker_id = :worker_id::text and j.status = 'running'
      and (j.credential_digest is null or j.credential_digest = :credential::bytea)
    for update of j
), locked_log as materialized (
    select l.task_id, l.last_seq from ado.task_logs l join held h using (task_id) for update of l
), delivered as (
    update ado.message_jobs m set delivered_in = h.attempt, delivered_at = now()
    from held h join locked_log l using (task_id)
    where m.task_id = h.task_id and m.job = h.job and m.message_id = any(:message_ids::bigint[])
      and m.delivered_at is null
    returning m.task_id, m.job, m.delivered_in, m.message_id
), written_events as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select d.task_id, l.last_seq + row_number() over (order by d.message_id), d.job, d.delivered_in, 'delivered', now(),
           now(), json_build_object('messageId', 'message-' || d.message_id)
    from delivered d join locked_log l using (task_id)
    returning task_id, seq
), advanced_log as (
    update ado.task_logs l set last_seq = w.seq
    from (select task_id, max(seq) as seq from written_events group by task_id) w
    where l.task_id = w.task_id
    returning l.task_id, l.last_seq
)
select h.task_id, case when a.task_id is not null then array['e:' || a.task_id || ':' || a.last_seq] end as hints
from held h left join advanced_log a using (task_id);

-- name: job_messages :many
-- The messages of a job in order, after one of them, up to so many bytes, but always one. ``undelivered``: only those
-- without a receipt.
select p.message_id, p.text from (
    select m.message_id, m.text,
           sum(octet_length(m.text)) over (order by m.message_id) - octet_length(m.text) as before
    from ado.message_jobs r join ado.messages m using (message_id)
    where r.task_id = :task_id::bigint and r.job = :job::integer and r.message_id > :after::bigint
      and (not :undelivered::boolean or r.delivered_at is null)
    order by m.message_id limit 1000
) p
where p.before < :byte_limit::bigint
order by p.message_id;

-- name: waiting_messages :many
-- The messages without a receipt to the running attempts of a worker, in order.
select r.message_id, j.task_id, j.job, j.attempt
from ado.jobs j join ado.message_jobs r on r.task_id = j.task_id and r.job = j.job and r.delivered_at is null
where j.worker_id = :worker_id::text and j.status = 'running' and j.last_message_id is not null
order by r.message_id, j.job;

-- name: list_messages :many
-- The messages of a task in order, after one of them, with their jobs, up to so many bytes, but always one.
select p.message_id, p.task_id, p.job, p.text, p.sender_name, p.created_at, p.jobs::text as jobs, p.more
from (
    select m.message_id, m.task_id, m.job, m.text, m.sender_name, m.created_at, r.jobs,
           lead(m.message_id) over in_order is not null as more,
           sum(octet_length(m.text) + octet_length(r.jobs::text)) over in_order
               - octet_length(m.text) - octet_length(r.jobs::text) as before,
           row_number() over in_order as position
    from ado.messages m
    cross join lateral (
        select json_agg(json_build_object(
            'job', r.job, 'attempt', r.delivered_in, 'delivered_at', r.delivered_at,
            'is_cancelled', j.status = 'cancelled') order by r.job) as jobs
        from ado.message_jobs r join ado.jobs j on j.task_id = r.task_id and j.job = r.job
        where r.message_id = m.message_id
    ) r
    where m.task_id = :task_id::bigint and m.message_id > :after::bigint
      and (:message_id::bigint is null or m.message_id = :message_id::bigint)
    window in_order as (order by m.message_id)
    order by m.message_id limit :row_limit::integer + 1
) p
where p.position <= :row_limit::integer and (p.before < :byte_limit::bigint or p.position = 1)
order by p.message_id;

-- name: find_message_by_key :optional
select message_id, job, text, sender from ado.messages
where task_id = :task_id::bigint and idempotency_key = :idempotency_key::text;

-- name: message_counts :one
-- How many messages a task has, and how many of one sender wait.
select count(*) as messages,
       count(*) filter (where m.sender is not distinct from :sender::text and exists (
           select from ado.message_jobs w where w.message_id = m.message_id and w.delivered_at is null)) as waiting
from ado.messages m where m.task_id = :task_id::bigint;

-- name: get_message :optional
select m.message_id, m.text from ado.messages m where m.message_id = :message_id::bigint;

-- name: unkept_session :optional
-- An ended job of a task that cannot continue, because no checkpoint of it is kept.
select j.job from ado.jobs j
where j.task_id = :task_id::bigint and (:job::integer is null or j.job = :job::integer)
  and j.status in ('succeeded', 'failed')
  and not exists (select from ado.files f where f.task_id = j.task_id and f.job = j.job and f.kind = 'checkpoint'
                  and f.completed_at is not null)
order by j.job limit 1;
