-- name: add_user :optional
-- No row: the name or the external id is another user's.
with changed as (
    insert into ado.users (name, email, role, external_id, running_limit, queued_limit, cost_limit)
    values (:user_name::text, :email::text, :role::text, :external_id::text, :running_limit::integer, :queued_limit::integer,
        :cost_limit::numeric)
    on conflict do nothing
    returning *
), first_turn as (
    insert into ado.user_turns (user_id) select c.user_id from changed c
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, 'user-' || c.user_id from changed c cross join ado.audit_actor(:actor::json) a
)
select * from changed;

-- name: find_accounts :many
-- The public ids of the user and of the services that have a name; a public id names itself.
select 'user-' || user_id as account from ado.users where name = :user_name::text
union all
select token_id from ado.tokens where name = :user_name::text and user_id is null
union all
select :user_name::text;

-- name: find_user :optional
select * from ado.users where name = :user_name::text or 'user-' || user_id = :user_name::text;

-- name: list_role_limits :many
select * from ado.role_limits order by role;

-- name: list_users :many
-- A page by id. It ends early when names and addresses grow large.
select f.*, count(*) over () < f.matches as more
from (
    select p.*, row_number() over by_id as position, count(*) over () as matches,
           sum(500 + octet_length(p.name) + coalesce(octet_length(p.email), 0)
               + coalesce(octet_length(p.external_id), 0)) over by_id as bytes
    from (
        select * from ado.users
        where user_id > coalesce(:after::bigint, 0) order by user_id limit :row_limit::integer + 1
    ) p
    window by_id as (order by p.user_id)
) f
where f.position <= :row_limit::integer and (f.position = 1 or f.bytes <= :byte_limit::bigint)
order by f.user_id;

-- name: set_role_limits :one
with changed as (
    insert into ado.role_limits as r (role, running_limit, queued_limit, cost_limit)
    values (:role::text, :running_limit::integer, :queued_limit::integer, :cost_limit::numeric)
    on conflict (role) do update set
        running_limit = case when 'running' = any(:cleared::text[]) then null
                             else coalesce(excluded.running_limit, r.running_limit) end,
        queued_limit = case when 'queued' = any(:cleared::text[]) then null
                            else coalesce(excluded.queued_limit, r.queued_limit) end,
        cost_limit = case when 'costPerDay' = any(:cleared::text[]) then null
                          else coalesce(excluded.cost_limit, r.cost_limit) end
    returning *
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, c.role from changed c cross join ado.audit_actor(:actor::json) a
)
select * from changed;

-- name: set_user :optional
-- Change what is not null, and remove what is named in ``cleared``. No row: another user has the external id. The
-- tokens of a user who is disabled are revoked, and stay so when the user is enabled again.
with changed as (
    update ado.users u set role = coalesce(:role::text, u.role),
        email = case when 'email' = any(:cleared::text[]) then null else coalesce(:email::text, u.email) end,
        external_id = case when 'externalId' = any(:cleared::text[]) then null
                           else coalesce(:external_id::text, u.external_id) end,
        running_limit = case when 'running' = any(:cleared::text[]) then null
                             else coalesce(:running_limit::integer, u.running_limit) end,
        queued_limit = case when 'queued' = any(:cleared::text[]) then null
                            else coalesce(:queued_limit::integer, u.queued_limit) end,
        cost_limit = case when 'costPerDay' = any(:cleared::text[]) then null
                          else coalesce(:cost_limit::numeric, u.cost_limit) end,
        disabled_at = case when :disabled::boolean then coalesce(u.disabled_at, now())
                                                        when not :disabled::boolean then null else u.disabled_at end
    where u.user_id = :user_id::bigint
      and not exists (select from ado.users o where o.external_id = :external_id::text and o.user_id <> u.user_id)
    returning u.*
), revoked as (
    update ado.tokens t set revoked_at = now() from changed c
    where t.user_id = c.user_id and c.disabled_at is not null and t.revoked_at is null
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, 'user-' || c.user_id from changed c cross join ado.audit_actor(:actor::json) a
)
select * from changed;

-- name: task_owner :optional
select created_by from ado.tasks where task_id = :task_id::bigint;

-- name: tasks_of_owner :many
-- Which of these tasks an account created.
select task_id from ado.tasks where task_id = any(:task_ids::bigint[]) and created_by = :owner::text;

-- name: task_queue_limit :optional
-- The limit of queued jobs of the user who created a task, and how many there are. No row: no limit.
select s.name, s.queued_limit, s.queued
from ado.jobs j join ado.user_status s using (user_id)
where j.task_id = :task_id::bigint and j.job = 0 and s.queued_limit is not null;

-- name: user_queue_limit :optional
-- Like task_queue_limit, for a user.
select s.name, s.queued_limit, s.queued from ado.user_status s
where s.user_id = :user_id::bigint and s.queued_limit is not null;
