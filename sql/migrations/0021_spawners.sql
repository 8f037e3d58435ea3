-- A row for each spawner, so that one that stopped is seen, and so that it is known which agents can be started.

create table ado.spawners (
    spawner_id text primary key,
    backend text not null,
    host text not null,
    capabilities text[] not null,
    max_workers integer not null,
    started_at timestamptz not null default now(),
    last_heartbeat_at timestamptz not null default now(),
    problem text
);
comment on table ado.spawners is 'The spawners that run, and those that ended without a word in the last day.';
comment on column ado.spawners.spawner_id is 'Its name.';
comment on column ado.spawners.backend is 'Where its workers run: local or kubernetes.';
comment on column ado.spawners.host is 'The machine it runs on.';
comment on column ado.spawners.capabilities is 'What the workers that it starts offer.';
comment on column ado.spawners.max_workers is 'How many workers it starts at most.';
comment on column ado.spawners.started_at is 'When it started.';
comment on column ado.spawners.last_heartbeat_at is 'When it was heard of last.';
comment on column ado.spawners.problem is 'What keeps it from starting workers.';

-- A spawner writes every 5 s. 30 s is the lease of a worker: by then its successor has started, if there is one.
create view ado.spawner_status as
select s.spawner_id, case when s.last_heartbeat_at > now() - interval '30 s' then 'running' else 'silent' end as state,
       s.backend, s.host, s.capabilities, s.max_workers, s.started_at, s.last_heartbeat_at, s.problem
from ado.spawners s;
comment on view ado.spawner_status is 'Every spawner with its state, derived from its heartbeats.';
comment on column ado.spawner_status.spawner_id is 'Its name.';
comment on column ado.spawner_status.state is 'running or silent.';
comment on column ado.spawner_status.backend is 'Where its workers run: local or kubernetes.';
comment on column ado.spawner_status.host is 'The machine it runs on.';
comment on column ado.spawner_status.capabilities is 'What the workers that it starts offer.';
comment on column ado.spawner_status.max_workers is 'How many workers it starts at most.';
comment on column ado.spawner_status.started_at is 'When it started.';
comment on column ado.spawner_status.last_heartbeat_at is 'When it was heard of last.';
comment on column ado.spawner_status.problem is 'What keeps it from starting workers.';

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select, insert, update, delete on ado.spawners to ado_api;
        grant select on ado.spawner_status to ado_api;
    end if;
    if exists (select from pg_roles where rolname = 'ado_readonly') then
        grant select on ado.spawner_status to ado_readonly;
    end if;
end $$;
