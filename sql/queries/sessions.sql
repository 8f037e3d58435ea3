-- name: create_session_code :one
with created_code as (
    insert into ado.session_codes (digest, token_id, role, expires_at)
    values (:digest::bytea, :token_id::text, :role::text, now() + make_interval(secs => :seconds::double precision))
    returning token_id, expires_at
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, c.token_id from created_code c cross join ado.audit_actor(:actor::json) a
)
select expires_at from created_code;

-- name: open_session :optional
-- Turn a code into a token. Of several that use one code, the first deletes it, and the others find none. The opener's
-- token must still be valid; the session acts for the same account, and ends no later.
with used_code as (
    delete from ado.session_codes c where c.digest = :digest::bytea
    returning c.token_id, c.role, c.expires_at > now() as in_time
), opener as (
    select t.token_id, t.user_id, t.expires_at, t.name, c.role, coalesce('user-' || t.user_id, t.token_id) as account
    from used_code c join ado.tokens t using (token_id) left join ado.users u using (user_id)
    where c.in_time and t.revoked_at is null and coalesce(t.expires_at > now(), true) and u.disabled_at is null
), opened_session as (
    insert into ado.tokens (token_id, digest, role, expires_at, user_id, name, created_by, opened_with)
    select :token_id::text, :token_digest::bytea, o.role,
           least(o.expires_at, now() + make_interval(secs => :seconds::double precision)), o.user_id,
           case when o.user_id is null then coalesce(o.name, o.token_id) else 'dashboard' end, o.account, o.token_id
    from opener o
    returning token_id, role, expires_at
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select 'user-' || o.user_id, o.token_id, a.address, a.procedure, a.request_id, s.token_id
    from opened_session s cross join opener o cross join ado.audit_actor(:actor::json) a
)
select token_id, role, expires_at from opened_session;

-- name: prune_session_codes :many
delete from ado.session_codes where expires_at < now() returning token_id;
