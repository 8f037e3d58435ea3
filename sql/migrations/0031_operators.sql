-- oldest: 26
-- What an operator watches: counters that survive replicas and pruned tasks, and the sessions that block others.

-- A note is inserted with what it counts, so no two ends of tasks wait for each other; the janitor adds notes to the
-- totals. A reader sums both in one statement and therefore never sees a figure go down.
create table ado.metric_notes (
    measure text not null,
    agent   text not null default '',
    kind    text not null default '',
    reason  text not null default '',
    bucket  double precision not null default 0,
    amount  numeric not null default 0
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
comment on table ado.metric_notes is 'What has been counted since the janitor last added notes to ado.metric_totals.';
comment on column ado.metric_notes.measure is 'finished, wait, run, tokens or cost.';
comment on column ado.metric_notes.agent is 'The agent.';
comment on column ado.metric_notes.kind is 'How a task ended, or the kind of tokens.';
comment on column ado.metric_notes.reason is 'Why a task ended.';
comment on column ado.metric_notes.bucket is 'The upper bound of the histogram''s bucket, in seconds.';
comment on column ado.metric_notes.amount is 'Seconds, tokens or US dollars.';

create table ado.metric_totals (
    measure text not null,
    agent   text not null,
    kind    text not null,
    reason  text not null,
    bucket  double precision not null,
    count   bigint not null,
    amount  numeric not null,
    primary key (measure, agent, kind, reason, bucket)
);
comment on table ado.metric_totals is 'Counters since the migration that made this table; tasks that are pruned or removed stay counted.';
comment on column ado.metric_totals.measure is 'finished, wait, run, tokens or cost.';
comment on column ado.metric_totals.agent is 'The agent, or other.';
comment on column ado.metric_totals.kind is 'How tasks ended, or the kind of tokens.';
comment on column ado.metric_totals.reason is 'Why tasks ended, or other.';
comment on column ado.metric_totals.bucket is 'The upper bound of the histogram''s bucket, in seconds.';
comment on column ado.metric_totals.count is 'How many notes were added.';
comment on column ado.metric_totals.amount is 'The sum of their amounts.';

create function ado.metric_bucket(seconds double precision) returns double precision
    language sql immutable set search_path = pg_catalog, pg_temp as $$
    select coalesce(min(b), 'infinity')
    from unnest(array[0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400]::double precision[]) b where seconds <= b
$$;
comment on function ado.metric_bucket(double precision) is 'The upper bound of the bucket that a duration belongs to.';

-- Locks and blocking pids are visible to everybody. What a session does and since when is visible to its own role and to
-- pg_read_all_stats, so this looks as its owner.
create function ado.lock_blockers(waits_seconds double precision)
    returns table (pid integer, role text, application text, state text, transaction_at timestamptz, blocked bigint,
                   waiting_since timestamptz)
    language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    with waiting as materialized (
        select l.pid, min(l.waitstart) as since
        from pg_locks l join pg_stat_activity a on a.pid = l.pid
        where not l.granted and a.datname = current_database()
        group by l.pid
        having min(l.waitstart) < clock_timestamp() - make_interval(secs => waits_seconds)
    ), blocking as (
        select distinct b.pid as blocker, w.pid as waiter, w.since
        from waiting w cross join lateral unnest(pg_blocking_pids(w.pid)) b(pid)
    )
    select b.blocker, a.usename::text, a.application_name, a.state, a.xact_start, count(*), min(b.since)
    from blocking b left join pg_stat_activity a on a.pid = b.blocker
    where b.blocker not in (select w.pid from waiting w)
    group by b.blocker, a.usename, a.application_name, a.state, a.xact_start
    order by min(b.since), b.blocker limit 10
$$;
comment on function ado.lock_blockers(double precision) is 'Sessions that do not wait themselves and that hold a lock for which others have waited so many seconds; pid 0 is a prepared transaction.';

create view ado.lock_blockers as select * from ado.lock_blockers(2);
comment on view ado.lock_blockers is 'Sessions that hold a lock for which others have waited for two seconds or more; select pg_terminate_backend(pid) ends one.';
comment on column ado.lock_blockers.pid is 'The session; 0: a prepared transaction, see pg_prepared_xacts.';
comment on column ado.lock_blockers.role is 'Its role.';
comment on column ado.lock_blockers.application is 'What it calls itself.';
comment on column ado.lock_blockers.state is 'What it does; null where the owner of the schema may not see it.';
comment on column ado.lock_blockers.transaction_at is 'When its transaction began; null where the owner of the schema may not see it.';
comment on column ado.lock_blockers.blocked is 'How many sessions wait for it.';
comment on column ado.lock_blockers.waiting_since is 'Since when the first of them waits.';

revoke all on function ado.lock_blockers(double precision) from public;
do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select, insert, update, delete on ado.metric_notes to ado_api;
        grant select, insert, update on ado.metric_totals to ado_api;
        grant select on ado.lock_blockers to ado_api;
        grant execute on function ado.lock_blockers(double precision) to ado_api;
    end if;
    if exists (select from pg_roles where rolname = 'ado_readonly') then
        grant select on ado.lock_blockers to ado_readonly;
        grant execute on function ado.lock_blockers(double precision) to ado_readonly;
    end if;
end $$;
