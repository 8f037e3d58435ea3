-- name: set_autoscale :one hints
-- Store a range. What is not given stays, or is the default of a new range. ``stored`` is false, and nothing changes, if
-- the limits exclude each other, or if there are ``most`` other ranges.
with merged as (
    select :capability::text as capability, coalesce(:minimum::integer, a.minimum, 0) as minimum,
           coalesce(:maximum::integer, a.maximum) as maximum, coalesce(:target_queue::integer, a.target_queue, 1) as target_queue,
           coalesce(:cooldown_seconds::double precision, a.cooldown_seconds, 60) as cooldown_seconds,
           (select count(*) from ado.autoscale o where o.capability <> :capability::text) as others
    from (select) one left join ado.autoscale a on a.capability = :capability::text
), stored as (
    insert into ado.autoscale as a (capability, minimum, maximum, target_queue, cooldown_seconds)
    select m.capability, m.minimum, m.maximum, m.target_queue, m.cooldown_seconds from merged m
    where m.minimum <= m.maximum and m.maximum::bigint * m.target_queue <= :most_waiting::bigint
      and m.others < :most::integer
    on conflict (capability) do update set minimum = excluded.minimum, maximum = excluded.maximum,
        target_queue = excluded.target_queue, cooldown_seconds = excluded.cooldown_seconds
    returning a.capability
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, coalesce(nullif(s.capability, ''), 'any') from stored s cross join ado.audit_actor(:actor::json) a
)
select m.*, exists (select from stored) as stored, array['s'] as hints from merged m;

-- name: remove_autoscale :optional hints
with removed as (
    delete from ado.autoscale where capability = :capability::text returning capability
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, coalesce(nullif(r.capability, ''), 'any') from removed r cross join ado.audit_actor(:actor::json) a
)
select s.*, extract(epoch from now() - s.surplus_since)::double precision as surplus_seconds, array['s'] as hints
from removed join ado.autoscale_status s using (capability);  -- the view still has it in this statement

-- name: lock_autoscale :optional
-- While there are ranges, spawners of all backends decide one at a time, so that together they keep a maximum. The lock
-- comes before the ranges are read, in a statement of its own: that one sees what the last decision has committed.
-- No row: there are no ranges.
select pg_try_advisory_xact_lock(hashtextextended('ado.autoscale', 0)) as locked
from (select from ado.autoscale limit 1) one;

-- name: list_autoscale :many
select s.capability, s.minimum, s.maximum, s.target_queue, s.cooldown_seconds, s.workers, s.leaving, s.ready, s.busy,
       extract(epoch from now() - s.surplus_since)::double precision as surplus_seconds, s.surplus_peak
from ado.autoscale_status s order by s.capability;

-- name: full_ranges :many
-- The ranges at their maximum that are about the queued job of a task that may start first.
select s.capability, s.maximum, s.workers
from ado.autoscale_status s
cross join lateral (
    select j.needs from ado.jobs j where j.task_id = :task_id::bigint and j.status = 'queued'
    order by j.run_after > now(), j.job limit 1
) first
where s.workers >= s.maximum and (s.capability = '' or s.capability = any(first.needs)) order by s.capability;

-- name: note_surplus :none
-- Since when there are more workers than are needed, and how many stay. A null peak: there are not.
update ado.autoscale set surplus_peak = :peak::integer,
    surplus_since = case when :peak::integer is null then null
                         when :restart::boolean then now() else coalesce(surplus_since, now()) end
where capability = :capability::text;
