-- name: try_spawner_lock :one
-- One spawner decides at a time; the lock ends with the transaction, so a killed spawner holds nothing.
select pg_try_advisory_xact_lock(hashtextextended('ado.spawner.' || :backend::text, 0)) as locked;

-- name: spawner_workers :many
-- Every worker that claims jobs, or will. A worker that reports a problem has no free slot.
select s.worker_id, s.state, s.backend, s.host, s.capabilities,
       case when w.load ->> 'problem' is null then s.free_slots else 0 end as free_slots, s.free_cpu, s.free_memory, s.free_gpu,
       extract(epoch from now() - s.requested_at)::double precision as requested_seconds_ago,
       extract(epoch from now() - s.idle_since)::double precision as idle_seconds
from ado.worker_status s join ado.workers w using (worker_id)
where s.stopped_at is null and s.state <> 'dead';

-- name: request_worker :none
-- Record the decision for a worker. Its process registers under the id.
insert into ado.workers (worker_id, capabilities, cpu, memory, gpu, slots, backend, host)
values (:worker_id::text, :capabilities::text[], :cpu::double precision, :memory::bigint, :gpu::double precision,
    :slots::integer, :backend::text, :host::text);

-- name: forget_request :none
-- The worker never registered. Its token is deleted too, so it cannot register later as a worker that no spawner knows.
with forgotten as (
    delete from ado.workers where worker_id = :worker_id::text and last_heartbeat_at is null returning worker_id
)
delete from ado.tokens t using forgotten f where t.worker_id = f.worker_id and t.role = 'worker';

-- name: retire_worker :optional hints
-- Drain an idle worker, unless it has taken a job meanwhile; with ``busy`` also then, and it ends after its jobs.
update ado.workers w set draining = true
where w.worker_id = :worker_id::text
  and (:busy::boolean or not exists (select from ado.jobs j where j.worker_id = w.worker_id and j.status = 'running'))
returning array['w:' || w.worker_id] as hints;

-- name: worker_gone :none
-- A worker's process has ended; its token is revoked.
with stopped_worker as (
    update ado.workers set stopped_at = coalesce(stopped_at, now()) where worker_id = :worker_id::text
    returning worker_id
)
update ado.tokens t set revoked_at = now() from stopped_worker s
where t.role = 'worker' and t.worker_id = s.worker_id and t.single and t.revoked_at is null;

-- name: spawner_heartbeat :none
-- A spawner is alive. Rows of killed spawners are kept for a day, so operators see what has stopped.
with forgotten as (
    delete from ado.spawners where last_heartbeat_at < now() - interval '1 day'
)
insert into ado.spawners as s (spawner_id, backend, host, capabilities, max_workers, problem)
values (:spawner_id::text, :backend::text, :host::text, :capabilities::text[], :max_workers::integer, :problem::text)
on conflict (spawner_id) do update
set capabilities = excluded.capabilities, problem = excluded.problem, last_heartbeat_at = now();

-- name: spawner_stopped :none
-- The spawner stops on request.
delete from ado.spawners where spawner_id = :spawner_id::text;

-- name: list_spawners :many
-- Running spawners, and silent ones that no other spawner has replaced.
select s.spawner_id, s.state, s.backend, s.host, s.capabilities, s.max_workers, s.started_at, s.last_heartbeat_at, s.problem
from ado.spawner_status s
where s.state = 'running'
   or not exists (select from ado.spawner_status r where r.backend = s.backend and r.state = 'running')
order by s.spawner_id;
