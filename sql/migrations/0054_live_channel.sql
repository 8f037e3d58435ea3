-- oldest: 26
-- Small events may travel in a notification, on a channel whose name only the replicas can read. Every login of a
-- database may listen to every channel, so the name is the secret; it changes every day.

create table ado.live_channel (
    only_row boolean primary key default true check (only_row),
    name text not null default 'ado_' || gen_random_uuid(),
    made_at timestamptz not null default now()
);
comment on table ado.live_channel is 'The channel of notifications that carry events. Without its row events are read from the log alone, a little later.';
comment on column ado.live_channel.only_row is 'There is at most one row.';
comment on column ado.live_channel.name is 'Secret: who knows it can listen to output as it is stored.';
comment on column ado.live_channel.made_at is 'When it got this name; replicas change it once a day.';

insert into ado.live_channel default values;

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select, update on ado.live_channel to ado_api;
    end if;
end
$$;
