-- name: drain_worker :optional hints
with known_worker as materialized (
    select w.worker_id, w.draining from ado.workers w where w.worker_id = :worker_id::text for update
), drained_worker as (
    update ado.workers w set draining = true from known_worker k where w.worker_id = k.worker_id
    returning w.worker_id
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, k.worker_id from known_worker k cross join ado.audit_actor(:actor::json) a
    where not k.draining
)
select worker_id, array['w:' || worker_id] as hints from drained_worker;

-- name: get_worker :optional
-- What a claim, a heartbeat or a command stream of this worker is checked by.
select w.worker_id, w.session, w.claims, w.draining, w.stopped_at, w.capabilities, w.slots, w.version,
       w.cpu, w.memory, w.gpu, w.last_heartbeat_at >= now() - make_interval(secs => c.suspect_seconds) as fresh,
       exists (select from ado.pods p where p.name = w.worker_id and p.task_id is not null) as bound
from ado.workers w cross join ado.control c where w.worker_id = :worker_id::text;

-- name: heartbeat :many
-- Renew exactly the jobs that the worker lists, and count the heartbeats that leave a job out. No row: no such worker,
-- or another session. The first row is the worker, the others are its running jobs.
with beat as (
    update ado.workers w set last_heartbeat_at = now(), load = :load::json,
        clock_skew_seconds = coalesce(extract(epoch from now() - :at::timestamptz), w.clock_skew_seconds),
        stopped_at = case when :stopped::boolean then now() end,
        idle_since = case when exists (select from ado.jobs j where j.worker_id = w.worker_id and j.status = 'running')
            then now() else w.idle_since end
    where w.worker_id = :worker_id::text and w.session = :session::text
    returning w.worker_id, w.draining
), listed as (
    select * from unnest(:task_ids::bigint[], :jobs::integer[], :attempts::integer[]) as l(task_id, job, attempt)
), locked_jobs as materialized (
    select j.task_id, j.job, j.attempt, l.attempt is not null as is_listed,
           case when j.stop_reason is not null then 'cancel' when j.pause_requested_at is not null then 'pause' end as command
    from beat b
    join ado.jobs j on j.worker_id = b.worker_id and j.status = 'running'
    left join listed l on l.task_id = j.task_id and l.job = j.job and l.attempt = j.attempt
    order by j.task_id, j.job for update of j
), renewed_jobs as (
    update ado.jobs j set
        lease_expires_at = case when k.is_listed
            then now() + make_interval(secs => :lease_seconds::double precision) else j.lease_expires_at end,
        missed_heartbeats = case when k.is_listed then 0 else j.missed_heartbeats + 1 end
    from locked_jobs k where j.task_id = k.task_id and j.job = k.job
    returning j.task_id, j.job, j.attempt, k.command, j.missed_heartbeats, k.is_listed
)
select null::bigint as task_id, null::integer as job, null::integer as attempt, null::text as command,
       0 as missed_heartbeats, null::boolean as is_listed, b.draining
from beat b
union all
select r.task_id, r.job, r.attempt, r.command, r.missed_heartbeats, r.is_listed, null from renewed_jobs r;

-- name: list_scales :many
select capabilities, count from ado.worker_scales order by capabilities;

-- name: list_workers :many
-- By id, after the last one of the previous page; of the stopped ones those that stopped within some seconds (null: all).
-- A page ends early when labels and capabilities grow large.
select f.*, count(*) over () < f.matches as more
from (
    select p.*, row_number() over by_id as position, count(*) over () as matches,
           sum(500 + pg_column_size(p.capabilities) + pg_column_size(p.labels)) over by_id as bytes
    from (
        select s.*, w.load ->> 'problem' as problem
        from ado.worker_status s join ado.workers w using (worker_id)
        where (:state::text is null or s.state = :state::text)
          and (:state::text is null or (s.stopped_at is not null) = (:state::text = 'stopped'))
          and (:stopped_within::double precision is null or s.stopped_at is null
               or s.stopped_at > now() - make_interval(secs => :stopped_within::double precision))
          and (:after::text is null or s.worker_id > :after::text)
        order by s.worker_id limit :row_limit::integer + 1
    ) p
    window by_id as (order by p.worker_id)
) f
where f.position <= :row_limit::integer and (f.position = 1 or f.bytes <= :byte_limit::bigint)
order by f.worker_id;

-- name: show_worker :optional
select s.*, w.load ->> 'problem' as problem
from ado.worker_status s join ado.workers w using (worker_id) where s.worker_id = :worker_id::text;

-- name: count_workers :many
-- By state. The stopped ones are counted by their index.
select s.state, count(*)::integer as count from ado.worker_status s where s.stopped_at is null group by s.state
union all
select 'stopped', count(*)::integer from ado.workers w where w.stopped_at is not null having count(*) > 0;

-- name: list_held_jobs :many
-- The running attempts of some workers; null: of all.
select worker_id, task_id, job, attempt from ado.jobs
where status = 'running' and (:worker_ids::text[] is null or worker_id = any(:worker_ids::text[]));

-- name: monitor_tick :one
-- Record that the control plane watches. If no replica did for longer than ``suspect``, first move every lease and
-- heartbeat by the gap: no worker may lose its jobs by an outage of the control plane. A jump of the database's clock
-- in either direction looks the same.
with before as materialized (
    select extract(epoch from now() - c.last_tick_at)::double precision as gap from ado.control c for update
), ticked as (
    update ado.control set last_tick_at = now(), heartbeat_seconds = :heartbeat_seconds::double precision,
        suspect_seconds = :suspect_seconds::double precision, lease_seconds = :lease_seconds::double precision,
        losses = :losses::integer, attempts = :attempts::integer, agent_breaker = :agent_breaker::integer
), extended_workers as (
    update ado.workers w set last_heartbeat_at = w.last_heartbeat_at + make_interval(secs => b.gap)
    from before b
    where abs(b.gap) > :suspect_seconds::double precision and w.stopped_at is null and w.last_heartbeat_at is not null
    returning w.worker_id
), locked_jobs as materialized (
    select j.task_id, j.job, b.gap from ado.jobs j cross join before b
    where abs(b.gap) > :suspect_seconds::double precision and j.status = 'running'
      and (select count(*) from extended_workers) >= 0
    order by j.task_id, j.job for update of j
), extended_jobs as (
    update ado.jobs j set lease_expires_at = j.lease_expires_at + make_interval(secs => k.gap)
    from locked_jobs k where j.task_id = k.task_id and j.job = k.job
)
select gap from before;

-- name: prune_workers :many
-- Delete workers that ended or fell silent long ago, with the tokens that a spawner made for them. A running job keeps
-- its worker's row.
with forgotten as (
    delete from ado.workers w
    where (w.stopped_at < now() - make_interval(secs => :keep_seconds::double precision)
           or w.stopped_at is null and coalesce(w.last_heartbeat_at, w.requested_at)
               < now() - make_interval(secs => :keep_seconds::double precision))
      and not exists (select from ado.jobs j where j.worker_id = w.worker_id and j.status = 'running')
    returning w.worker_id, w.backend
), forgotten_tokens as (
    delete from ado.tokens t using forgotten f
    where t.role = 'worker' and t.worker_id = f.worker_id and f.backend is not null
)
select f.worker_id from forgotten f;

-- name: queue_counts :one
-- Open jobs by status, and since when the oldest could run. Up to 10,000 queued or paused ones are counted, in an index
-- alone. When there are more, the last sample says how many, so that no reader pays for a deep queue. The oldest one is
-- that of one of the oldest tasks, unless a thousand older ones were queued again.
select greatest(c.queued, case when c.queued > 10000 then s.queued end) as queued, c.running,
       greatest(c.paused, case when c.paused > 10000 then s.paused end) as paused,
       coalesce((select extract(epoch from now() - min(o.run_after))::double precision from (
           select q.run_after from ado.jobs q where q.status = 'queued' order by q.task_id limit 1000
       ) o), 0) as oldest_seconds
from ado.open_jobs(10001) c
left join (
    select d.queued, d.paused from ado.samples d where d.at > now() - interval '3 minutes' order by d.at desc limit 1
) s on true;

-- name: register_worker :optional hints
-- Register a process under an id. The same instance gets the same session. Another instance replaces the older process:
-- ``replaced`` says so, and its jobs are then ended. No row: the token belongs to another process. A token belongs to
-- the first process that registered with it and has sent a heartbeat: for good if it is a single token, else until that
-- worker has reported its end or is suspect. A process that has sent none is replaced: nothing shows that it runs. Two
-- first processes may both find no row of the worker; until there is one, the time of the token's last use stands for
-- the heartbeat.
with before as materialized (
    select w.instance, w.session, w.stopped_at, w.last_heartbeat_at, w.started_at from ado.workers w
    where w.worker_id = :worker_id::text for update
), used_token as materialized (
    select t.token_id, t.single, t.instance, t.instance_at from ado.tokens t
    where t.token_id = :token_id::text and t.single is not null
      and (select count(*) from before) >= 0  -- always true: it has the worker's row locked before its token's
    for update
), barred as materialized (
    select from used_token t cross join ado.control c left join before b on true
    where t.instance <> :instance::text and (t.single or (
        b.instance is distinct from :instance::text
        and case when b.session is null then t.instance_at
            when b.stopped_at is null and b.last_heartbeat_at > b.started_at then b.last_heartbeat_at end
            >= now() - make_interval(secs => c.suspect_seconds)))
), bound_token as (
    update ado.tokens t set instance = :instance::text, instance_at = now()
    from used_token u where t.token_id = u.token_id and not exists (select from barred)
), registered as (
    insert into ado.workers as w (worker_id, instance, session, capabilities, cpu, memory, gpu, labels, slots, version,
        pid, host, started_at, last_heartbeat_at)
    select :worker_id::text, :instance::text, :session::text, :capabilities::text[], :cpu::double precision,
        :memory::bigint, :gpu::double precision, :labels::jsonb, :slots::integer, :version::text, :pid::integer,
        :host::text, now(), now()
    where (select count(*) from before) >= 0  -- always true: it has the old row read before it is written
      and not exists (select from barred)
    on conflict (worker_id) do update set
        instance = excluded.instance, capabilities = excluded.capabilities, cpu = excluded.cpu,
        memory = excluded.memory, gpu = excluded.gpu, labels = excluded.labels, slots = excluded.slots,
        version = excluded.version, pid = excluded.pid, host = excluded.host, last_heartbeat_at = now(),
        idle_since = now(), stopped_at = null,
        session = case when w.instance = excluded.instance then w.session else excluded.session end,
        draining = w.draining and coalesce(w.instance = excluded.instance, true),
        started_at = case when w.instance = excluded.instance then w.started_at else now() end
    returning w.session, w.worker_id
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, r.worker_id from registered r cross join ado.audit_actor(:actor::json) a
    where not exists (select from before b where b.session = r.session)  -- the same process again changes nothing
)
select r.session, coalesce(b.instance <> :instance::text, false) as replaced,
       array['w:' || r.worker_id] as hints
from registered r left join before b on true;

-- name: scale_workers :one hints
with scaled as (
    insert into ado.worker_scales (capabilities, count) values (:capabilities::text[], :count::integer)
    on conflict (capabilities) do update set count = excluded.count
    returning capabilities, count
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, coalesce(nullif(array_to_string(s.capabilities, ','), ''), 'any')
    from scaled s cross join ado.audit_actor(:actor::json) a
)
select count, array['s'] as hints from scaled;

-- name: open_commands :many
-- The open commands, each with its worker: to stop or pause a job, to drain, that the worker lost one of the given
-- attempts, a message, or an answer. Ended workers get no commands. The name of a command is the same at each look, and
-- a further message to a job has another one.
select j.worker_id, concat_ws(':', case when j.stop_reason is null then 'pause' else 'cancel' end,
                              j.task_id, j.job, j.attempt) as command
from ado.jobs j
where j.status = 'running' and (j.stop_reason is not null or j.pause_requested_at is not null)
union
select j.worker_id, concat_ws(':', 'message', j.last_message_id, j.task_id, j.job, j.attempt) from ado.jobs j
where j.status = 'running' and j.last_message_id is not null
  and exists (select from ado.message_jobs m where m.task_id = j.task_id and m.job = j.job and m.delivered_at is null)
union
select j.worker_id, concat_ws(':', 'answer', q.question_id) from ado.questions q
join ado.jobs j using (task_id, job, attempt)
where q.worker_waits and q.state <> 'open' and j.status = 'running'
union
select w.worker_id, 'drain' from ado.workers w where w.draining and w.stopped_at is null
union
select h.worker_id, concat_ws(':', 'lost', h.task_id, h.job, h.attempt)
from unnest(:worker_ids::text[], :task_ids::bigint[], :jobs::integer[], :attempts::integer[])
    as h(worker_id, task_id, job, attempt)
join ado.jobs j on j.task_id = h.task_id and j.job = h.job
where j.finished_attempt <> h.attempt and (j.attempt <> h.attempt or j.status <> 'running');

-- name: worker_clock :optional
select clock_skew_seconds from ado.workers where worker_id = :worker_id::text;
