-- oldest: 8
-- Who did what: one row for each change by a person and for each refused call. Nobody may alter or remove a row.

create table ado.audit (
    at timestamptz not null default now(),
    audit_id bigint generated always as identity,
    user_id text,
    token_id text,
    address text,
    procedure text,
    target text,
    outcome text not null default 'ok' check (outcome in ('ok', 'refused')),
    reason text,
    request_id text,
    count bigint not null default 1 check (count >= 1),
    primary key (at, audit_id)
);
create index audit_target on ado.audit (target, at) where target is not null;
comment on table ado.audit is 'Who did what: one row for each change, written in its transaction, and for each refused call. Append-only for every role; ado.prune_audit alone removes what is old.';
comment on column ado.audit.at is 'When, by the database''s clock.';
comment on column ado.audit.audit_id is 'Tells rows of one moment apart.';
comment on column ado.audit.user_id is 'The user whose token was used; null for a token without a user.';
comment on column ado.audit.token_id is 'The token that was used; null where none was valid, and for changes directly on the database.';
comment on column ado.audit.address is 'Where the call came from: the address of the client or of the proxy before it; sql:NAME for a change made directly on the database by that login.';
comment on column ado.audit.procedure is 'The procedure that was called.';
comment on column ado.audit.target is 'What was changed: a task, worker, token, user or file by its id.';
comment on column ado.audit.outcome is 'ok: the change was made. refused: the call was refused and changed nothing.';
comment on column ado.audit.reason is 'Why the call was refused.';
comment on column ado.audit.request_id is 'Id of the request or socket, as it stands in the log and in the answer.';
comment on column ado.audit.count is 'How many like refusals the row stands for: a caller that is refused very often gets one row for many of them.';

-- A missing privilege stops every login but the owner, which the embedded control plane's replicas are; this stops the
-- owner, too. The call stack says whether the pruning function is what deletes.
create function ado.keep_audit() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    stack text;
begin
    get diagnostics stack = pg_context;
    if tg_op = 'DELETE' and stack like E'%\nPL/pgSQL function ado.prune_audit(double precision) line %' then
        return null;
    end if;
    raise exception using errcode = 'insufficient_privilege', message = 'ado.audit is append-only',
        hint = 'rows older than ADO_AUDIT_DAYS are removed by ado.prune_audit';
end $$;
comment on function ado.keep_audit() is 'Refuses to change or remove rows of ado.audit, except for ado.prune_audit.';
revoke all on function ado.keep_audit() from public;
create trigger keep_audit before update or delete or truncate on ado.audit
    for each statement execute function ado.keep_audit();
alter table ado.audit enable always trigger keep_audit;

-- A login that may prune must not be able to remove what has just happened: a day is always kept.
create function ado.prune_audit(keep_days double precision) returns bigint
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    removed bigint;
begin
    delete from ado.audit a using (
        select o.at, o.audit_id from ado.audit o
        where o.at < now() - greatest(keep_days, 1) * interval '1 day'
        order by o.at, o.audit_id limit 10000 for update skip locked
    ) old
    where a.at = old.at and a.audit_id = old.audit_id;
    get diagnostics removed = row_count;
    return removed;
end $$;
comment on function ado.prune_audit(double precision) is 'Removes up to 10,000 rows of ado.audit that are older than so many days, at least one; returns how many.';
revoke all on function ado.prune_audit(double precision) from public;

create function ado.audit_actor(actor json)
    returns table (user_id text, token_id text, address text, procedure text, request_id text)
    language sql immutable as $$
    select a.* from pg_catalog.json_to_record(actor)
        as a(user_id text, token_id text, address text, procedure text, request_id text)
    where actor is not null
$$;
comment on function ado.audit_actor(json) is 'Who makes a change by which call, as columns of ado.audit; no row for null: the change is nobody''s.';
revoke all on function ado.audit_actor(json) from public;

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select on ado.audit to ado_api;
        -- not at: a replica cannot date a row back
        grant insert (user_id, token_id, address, procedure, target, outcome, reason, request_id, count)
            on ado.audit to ado_api;
        grant execute on function ado.audit_actor(json), ado.prune_audit(double precision) to ado_api;
    end if;
end $$;
