-- oldest: 13
-- Values of an environment are kept no longer than their task can run, and may be stored encrypted. Names stay.

alter table ado.task_environments
    alter column environment drop not null,
    add column names text[] not null default '{}',
    add column sealed text,
    add column forgotten_at timestamptz;
update ado.task_environments set names = array(select json_object_keys(environment) order by 1);

comment on column ado.task_environments.environment is 'Names and values; null where they are sealed or forgotten.';
comment on column ado.task_environments.names is 'Names alone, in order.';
comment on column ado.task_environments.sealed is 'Names and values as one ciphertext; the replicas have the key (ADO_DATA_KEY).';
comment on column ado.task_environments.forgotten_at is 'When the values were deleted: the task can no longer run.';

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant update (environment, sealed, forgotten_at) on ado.task_environments to ado_api;
    end if;
end $$;
