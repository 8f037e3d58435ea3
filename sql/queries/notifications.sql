-- name: add_notification_target :optional
-- No row: the creator has as many targets as one may have.
with added as (
    insert into ado.notification_targets (url, format, events, labels, mine, secret, sealed, created_by)
    select :url::text, :format::text, :events::text[], :labels::jsonb, :mine::boolean,
           case when :sealed::text is null then json_build_object('secret', :secret::text) end, :sealed::text,
           :created_by::text
    where (select count(*) from ado.notification_targets t where t.created_by is not distinct from :created_by::text)
        < :most::integer
    returning *
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select c.*, 'notify-' || a.target_id from added a cross join ado.audit_actor(:actor::json) c
)
select a.*, ado.account_name(a.created_by) as creator_name from added a;

-- name: claim_notifications :many
-- Take what is due, the oldest of each target first. ``next_try_at`` is moved ahead at once: it is the lease of the
-- replica that sends and the back-off after a failure. So a replica that dies leaves nothing to repair.
-- The delays are 30 s, 2 min, 8 min, and so on up to a day. Replicas wait differently long, so that a receiver that
-- comes back is not called by all at once.
with due as materialized (
    select d.notification_id, t.target_id from ado.notification_targets t
    cross join lateral (
        select n.notification_id from ado.notifications n
        where n.target_id = t.target_id and n.state = 'waiting' and n.next_try_at <= now()
        order by n.next_try_at, n.notification_id limit :target_limit::integer
        for update skip locked
    ) d
    where t.target_id <> all(:busy::bigint[]) and (:only::bigint is null or t.target_id = :only::bigint)
), claimed as (
    update ado.notifications n set tries = n.tries + 1,
        next_try_at = now() + make_interval(secs => least(86400, 30 * 4 ^ least(n.tries, 10)) * (0.9 + 0.2 * random()))
    from due d where n.notification_id = d.notification_id
    returning n.*
)
select c.notification_id, c.target_id, c.event, c.body::text as body, c.created_at, t.url, t.format,
       t.secret ->> 'secret' as secret, t.sealed
from claimed c join ado.notification_targets t using (target_id)
order by c.notification_id;

-- name: find_notification_target :optional
select t.*, t.secret ->> 'secret' as secret_text, ado.account_name(t.created_by) as creator_name
from ado.notification_targets t where t.target_id = :target_id::bigint;

-- name: list_notification_targets :many
-- Those of one creator, or all of them, with what became of their notifications.
select t.*, s.waiting, s.delivered, s.failed, s.last_error, ado.account_name(t.created_by) as creator_name
from ado.notification_targets t join ado.notification_status s using (target_id)
where :creator::text is null or t.created_by = :creator::text
order by t.target_id limit :most::integer;

-- name: prune_notifications :one
-- Delete what ended a week ago, in bounded pieces.
with old as (
    select n.notification_id from ado.notifications n
    where n.state <> 'waiting' and n.ended_at < now() - make_interval(days => 7)
    limit 10000 for update skip locked
), gone as (
    delete from ado.notifications n using old o where n.notification_id = o.notification_id returning 1
)
select count(*) as pruned from gone;

-- name: record_deliveries :many
-- Store what became of sent notifications. One that failed stays waiting until its time is over. One that another
-- replica has delivered meanwhile stays delivered.
update ado.notifications n set
    state = case when r.error is null then 'delivered'
                 when n.created_at < now() - make_interval(secs => :give_up_seconds::double precision) then 'failed'
                 else 'waiting' end,
    ended_at = case when r.error is null
                      or n.created_at < now() - make_interval(secs => :give_up_seconds::double precision) then now() end,
    error = r.error
from unnest(:ids::bigint[], :errors::text[]) r (notification_id, error)
where n.notification_id = r.notification_id and n.state = 'waiting'
returning n.notification_id, n.state;

-- name: remove_notification_target :optional
-- No row: there is none of this number, or it is another creator's. What waits for it is dropped.
with removed as (
    delete from ado.notification_targets t
    where t.target_id = :target_id::bigint and (:creator::text is null or t.created_by = :creator::text)
    returning t.target_id
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select c.*, 'notify-' || r.target_id from removed r cross join ado.audit_actor(:actor::json) c
)
select r.target_id from removed r;
