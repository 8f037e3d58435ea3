-- oldest: 26
-- A change that is alone in its commit may notify within it: its readers are woken a round trip and a commit sooner.

create function ado.announce(hints text, events text default null) returns boolean language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    -- A commit that notifies holds a lock of the whole server through its flush to disk. So only one
    -- transaction of a database does at a time. The others do not wait: they send their hints after their commit.
    if not pg_try_advisory_xact_lock(hashtextextended('ado.announce', 0)) then
        return false;
    end if;
    if events is not null then  -- first, so that a reader already has them when the hints wake it
        perform pg_notify(c.name, events) from ado.live_channel c;
    end if;
    perform pg_notify('ado', hints);
    return true;
end
$$;
comment on function ado.announce is 'Notify in this transaction: hints, and the events that they are about. False if another transaction is already doing so.';

revoke all on function ado.announce(text, text) from public;
do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant execute on function ado.announce(text, text) to ado_api;
    end if;
end $$;
