-- name: job_counts :many
-- Open jobs by status, and since when the oldest could run.
select status, count(*) as jobs, extract(epoch from now() - min(run_after))::double precision as oldest_seconds
from ado.jobs where status in ('queued', 'running') group by status;

-- name: worker_counts :many
select state, count(*) as workers from ado.worker_status group by state;

-- name: oldest_activity :one
-- A transaction or snapshot that never ends keeps dead rows from being cleaned, and claims get slow.
select transaction_seconds, snapshot_age from ado.oldest_activity();

-- name: database_time :one
select now() as now;

-- name: is_read_only :one
-- Whether this server takes no writes: a standby, or a primary that was demoted.
select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean as read_only;

-- name: schema_version :one
-- The newest migration, and that of the oldest release that still runs; by way of jsonb, because a database that an older
-- release has migrated does not have the column.
select coalesce(max(number), 0) as version,
       coalesce(max(coalesce((to_jsonb(m) ->> 'oldest')::integer, number)), 0) as oldest
from ado.migrations m;

-- name: notify :one
-- Send hints, after what they tell of is durable and never together with it: a full queue of notifications fails the
-- commit that notifies. No flush, because nothing depends on it.
select pg_notify('ado', :hints::text), set_config('synchronous_commit', 'off', true);

-- name: commit_something :one
-- A commit of a few bytes that nobody reads, flushed to disk as every other one, or not at all: the difference is what
-- the disk costs.
select pg_logical_emit_message(true, 'ado', 'latency')::text as position,
       set_config('synchronous_commit', case when :durable::boolean then current_setting('synchronous_commit')
                                        else 'off' end, true) as mode;
