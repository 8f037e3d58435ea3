-- name: job_counts :many
-- Open jobs by status, and since when the oldest could run.
select status, count(*) as jobs, extract(epoch from now() - min(run_after))::double precision as oldest_seconds
from ado.jobs where status in ('queued', 'running') group by status;

-- name: worker_counts :many
select state, count(*) as workers from ado.worker_status group by state;

-- name: oldest_transaction :one
-- How long the oldest transaction of this user has been open; one that never ends keeps dead rows from being cleaned.
select coalesce(max(extract(epoch from now() - xact_start)), 0)::double precision as seconds
from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid();

-- name: probe_notifications :one
-- A hint that its sender hears again if notifications arrive; behind a pooler's transaction mode they do not.
select pg_notify('ado', :hint::text), now() as now;
