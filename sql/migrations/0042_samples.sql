-- oldest: 26
-- How the installation has worked over the last days: a row a minute, for the plots of the dashboard.

create table ado.samples (
    at             timestamptz primary key,
    queued         bigint not null,
    running        bigint not null,
    paused         bigint not null,
    workers        bigint not null,
    succeeded      bigint not null,
    failed         bigint not null,
    cancelled      bigint not null,
    cost_usd       numeric not null,
    latency_p50_ms double precision,
    latency_p99_ms double precision
);
comment on table ado.samples is 'One row for each minute of the last 14 days in which a replica ran.';
comment on column ado.samples.at is 'The minute.';
comment on column ado.samples.queued is 'Queued jobs.';
comment on column ado.samples.running is 'Running jobs.';
comment on column ado.samples.paused is 'Paused jobs.';
comment on column ado.samples.workers is 'Workers that are idle or busy.';
comment on column ado.samples.succeeded is 'Tasks that have succeeded since the counters began.';
comment on column ado.samples.failed is 'Tasks that have failed since the counters began.';
comment on column ado.samples.cancelled is 'Tasks that were cancelled since the counters began.';
comment on column ado.samples.cost_usd is 'US dollars that agents have reported since the counters began.';
comment on column ado.samples.latency_p50_ms is 'Median time of recent output from the agent''s write to the database; null: no output.';
comment on column ado.samples.latency_p99_ms is 'Its 99th percentile.';

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select, insert, delete on ado.samples to ado_api;
    end if;
end $$;
