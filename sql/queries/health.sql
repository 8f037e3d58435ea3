-- name: oldest_activity :one
-- A transaction or snapshot that never ends keeps dead rows from being cleaned, and claims get slow.
select transaction_seconds, snapshot_age from ado.oldest_activity();

-- name: database_time :one
select now() as now;

-- name: is_read_only :one
-- Whether this server takes no writes: a standby, or a primary that was demoted.
select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean as read_only;

-- name: schema_version :one
-- The newest migration, and that of the oldest release that still runs. Read as jsonb, because a database that an older
-- release has migrated lacks the column.
select coalesce(max(number), 0) as version,
       coalesce(max(coalesce((to_jsonb(m) ->> 'oldest')::integer, number)), 0) as oldest
from ado.migrations m;

-- name: notify :one
-- Send hints in a transaction of their own, after the change is durable: if the queue of notifications is full, the
-- commit that notifies fails. The commit is not flushed, because nothing depends on it.
select pg_notify('ado', :hints::text), set_config('synchronous_commit', 'off', true);

-- name: live_channel :optional
select name from ado.live_channel;

-- name: rename_live_channel :none
update ado.live_channel set name = default, made_at = now() where made_at < now() - interval '1 day';

-- name: commit_something :one
-- Commit a few bytes that nobody reads, flushed to disk or not; the difference in time is what the disk costs.
select pg_logical_emit_message(true, 'ado', 'latency')::text as position,
       set_config('synchronous_commit', case when :durable::boolean then current_setting('synchronous_commit')
                                        else 'off' end, true) as mode;

-- name: monitor_age :one
-- How long no replica has watched over leases.
select extract(epoch from now() - c.last_tick_at)::double precision as seconds from ado.control c;

-- name: lock_blockers :many
-- Reads no table of ado, so a locked table does not hide who holds the lock.
select pid, role, application, state, transaction_at, blocked, waiting_since from ado.lock_blockers(2);

-- name: metric_figures :many
-- Totals, and the notes that are not in them yet, at one moment.
select f.measure, f.agent, f.kind, f.reason, f.bucket, sum(f.count)::bigint as count,
       sum(f.amount)::double precision as amount
from (
    select t.* from ado.metric_totals t
    union all
    select n.measure, case when n.agent = any(:agents::text[]) then n.agent else 'other' end, n.kind,
           case when n.reason = any(:reasons::text[]) then n.reason else 'other' end, n.bucket, 1, n.amount
    from ado.metric_notes n
) f
group by f.measure, f.agent, f.kind, f.reason, f.bucket;

-- name: add_metric_notes :one
-- Move notes into the totals. Workers may invent reasons and names of agents; unknown ones count as other. Two janitors
-- take different notes, and change the totals in the same order.
with taken as (
    delete from ado.metric_notes n
    where n.ctid = any(array(select m.ctid from ado.metric_notes m limit :most::bigint for update skip locked))
    returning n.measure, case when n.agent = any(:agents::text[]) then n.agent else 'other' end as agent, n.kind,
        case when n.reason = any(:reasons::text[]) then n.reason else 'other' end as reason, n.bucket, n.amount
), added as (
    insert into ado.metric_totals as t (measure, agent, kind, reason, bucket, count, amount)
    select k.measure, k.agent, k.kind, k.reason, k.bucket, count(*), sum(k.amount) from taken k
    group by k.measure, k.agent, k.kind, k.reason, k.bucket order by 1, 2, 3, 4, 5
    on conflict (measure, agent, kind, reason, bucket)
        do update set count = t.count + excluded.count, amount = t.amount + excluded.amount
)
select count(*) as notes from taken;

-- name: table_sizes :many
-- Bytes on disk by table, with indexes; the partitions of a table are counted as that table.
select coalesce(p.relname, c.relname)::text as table, sum(pg_total_relation_size(c.oid))::bigint as bytes
from pg_class c
left join pg_inherits i on i.inhrelid = c.oid
left join pg_class p on p.oid = i.inhparent
where c.relnamespace = 'ado'::regnamespace and c.relkind = 'r'
group by 1 order by 1;

-- name: database_size :one
select pg_database_size(current_database()) as bytes;

-- name: waiting_jobs :many
-- Why the oldest queued jobs wait, as the operators' view says it.
select p.job_id, p.worker_id, p.state, p.unmet, p.help from ado.why_pending p;
