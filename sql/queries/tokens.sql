-- name: create_token :one
with created_token as (
    insert into ado.tokens (token_id, digest, role, worker_id, capabilities, expires_at, user_id, name, created_by,
        single)
    values (:token_id::text, :digest::bytea, :role::text, :worker_id::text, :capabilities::text[],
        now() + make_interval(secs => :expires_seconds::double precision), :user_id::bigint, :token_name::text,
        :actor::json ->> 'account',
        case when :role::text = 'worker' then :single::boolean end)
    returning token_id, role, expires_at
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, t.token_id from created_token t cross join ado.audit_actor(:actor::json) a
)
select token_id, role, expires_at from created_token;

-- name: end_single_tokens :none
-- Revoke the tokens that serve only this process of a worker.
update ado.tokens set revoked_at = now()
where worker_id = :worker_id::text and single and revoked_at is null;

-- name: find_token :optional
-- Who a token belongs to, and whether it is valid by the database's clock. A user's token may do no more than its user.
-- A session ends with the token that opened it.
-- This reads no job, so people can sign in, and see who locks that table, while it is locked.
select t.token_id,
       case when array_position(r.ranks, u.role) < array_position(r.ranks, t.role) then u.role else t.role end as role,
       t.worker_id, t.capabilities, null::bigint as task_id, null::integer as job, null::integer as attempt,
       t.expires_at,
       t.revoked_at is null and coalesce(t.expires_at > now(), true) and u.disabled_at is null
           and o.revoked_at is null and coalesce(o.expires_at > now(), true) as valid,
       t.user_id, u.name as user_name, t.name, t.opened_with
from ado.tokens t left join ado.users u using (user_id) left join ado.tokens o on o.token_id = t.opened_with
cross join (values (array['viewer', 'developer', 'operator', 'admin'])) as r(ranks)
where t.digest = :digest::bytea;

-- name: find_attempt_token :optional
-- Who a job's token, or an attempt's credential, belongs to. Both are known only while the attempt runs.
select 'job' as token_id, 'job' as role, null as worker_id, null::text[] as capabilities, j.task_id, j.job, j.attempt,
       null::timestamptz as expires_at, true as valid, null::text as user_id, null as user_name, null as name
from ado.jobs j where j.token_digest = :digest::bytea and j.status = 'running'
union all
select 'attempt', 'attempt', j.worker_id, null, j.task_id, j.job, j.attempt, null, true, null, null, null
from ado.jobs j where j.credential_digest = :digest::bytea and j.status = 'running';

-- name: list_tokens :many
-- Oldest first, after the last token of the previous page. A page ends early when its capabilities grow large.
select f.token_id, f.role, f.name, f.user, f.worker_id, f.capabilities, f.created_at, f.created_by, f.opened_with,
       f.last_used_at, f.expires_at, f.revoked_at, count(*) over () < f.matches as more
from (
    select p.*, row_number() over oldest as position, count(*) over () as matches,
           sum(200 + coalesce(pg_column_size(p.capabilities), 0)) over oldest as bytes
    from (
        select t.token_id, t.role, t.name, u.name as user, t.worker_id, t.capabilities, t.created_at,
               ado.account_name(t.created_by) as created_by, t.opened_with, t.last_used_at, t.expires_at, t.revoked_at
        from ado.tokens t left join ado.users u using (user_id)
        where :after_at::timestamptz is null or (t.created_at, t.token_id) > (:after_at::timestamptz, :after::text)
        order by t.created_at, t.token_id limit :row_limit::integer + 1
    ) p
    window oldest as (order by p.created_at, p.token_id)
) f
where f.position <= :row_limit::integer and (f.position = 1 or f.bytes <= :byte_limit::bigint)
order by f.created_at, f.token_id;

-- name: mark_used_tokens :many
-- Record the use, at most once a minute for each token, however many replicas it calls. A row that another transaction
-- has locked is left for the next time.
update ado.tokens t set last_used_at = now()
from (select token_id from ado.tokens
      where token_id = any(:token_ids::text[]) and coalesce(last_used_at < now() - interval '1 minute', true)
      order by token_id for update skip locked) used
where t.token_id = used.token_id
returning t.token_id;

-- name: prune_tokens :many
-- Delete workers' tokens and sessions that can no longer be used. Other tokens stay, so that lists show them.
delete from ado.tokens
where (role = 'worker' or opened_with is not null) and coalesce(expires_at, revoked_at) < now() - interval '1 day'
returning token_id;

-- name: revoke_token :optional
with known_token as materialized (
    select t.token_id, t.revoked_at from ado.tokens t where t.token_id = :token_id::text for update
), revoked_token as (
    update ado.tokens t set revoked_at = coalesce(t.revoked_at, now()) from known_token k where t.token_id = k.token_id
    returning t.token_id, t.role, t.expires_at, t.revoked_at
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, k.token_id from known_token k cross join ado.audit_actor(:actor::json) a
    where k.revoked_at is null
)
select token_id, role, expires_at, revoked_at from revoked_token;
