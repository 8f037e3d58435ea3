-- oldest: 17
-- A bound for attempts that end without a result of their agent: lost, released, replaced, or never received.

alter table ado.control add column attempts integer not null default 20 check (attempts >= 1);
comment on column ado.control.attempts is 'Interrupted attempts at which a job fails (too_many_attempts).';

alter table ado.jobs add column interruptions integer not null default 0;
comment on column ado.jobs.interruptions is 'Attempts that ended without a result of the agent; at ado.control.attempts the job fails.';

create function ado.interruption_delay(interruptions integer) returns interval
    language sql immutable set search_path = pg_catalog, pg_temp as $$
    -- the first two are the price of a restart and cost nothing; a job that goes on being interrupted waits up to a minute
    select make_interval(secs => case when interruptions < 3 then 0 else least(60, 2 ^ least(interruptions - 3, 10)) end)
$$;
comment on function ado.interruption_delay(integer) is 'How long a job waits in the queue after so many interrupted attempts.';
