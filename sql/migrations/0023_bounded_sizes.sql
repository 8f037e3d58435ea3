-- oldest: 8
-- Limits of what a task stores: all events of an attempt, and all values of a task together.

comment on column ado.jobs.output_bytes is 'Bytes of the attempt''s events that were stored, each counted as 100 at least; at the replicas'' limit no more are.';
comment on column ado.jobs.dropped_bytes is 'Bytes of the attempt''s events that came after the limit and were dropped.';

-- Not compressed, so that pg_column_size is their size and an answer can be bounded without reading them.
alter table ado.jobs alter column result set storage external;
alter table ado.task_values alter column value set storage external;

-- Like the function of migration 0016, which replicas of the release before still call, with a limit of bytes. Every
-- write locks the task's log first, so that writers at the same time cannot exceed a limit together.
create function ado.set_value(of_task bigint, name text, new_value json, expected bigint, most_keys bigint,
                              most_bytes bigint, write_key text, writer_job integer, writer_attempt integer)
    returns setof ado.task_values
    language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    others bigint;
    other_bytes bigint;
begin
    if writer_job is not null then
        perform from ado.jobs j
        where j.task_id = of_task and j.job = writer_job and j.attempt = writer_attempt and j.status = 'running'
        for share;
        if not found then
            return;
        end if;
    end if;
    perform from ado.task_logs l where l.task_id = of_task for update;
    if not found then
        return;
    end if;
    select count(*), coalesce(sum(pg_column_size(v.value) + octet_length(v.key)), 0) into others, other_bytes
    from ado.task_values v where v.task_id = of_task and v.key <> name;
    if not exists (select from ado.task_values v where v.task_id = of_task and v.key = name)
       and (coalesce(expected, 0) <> 0 or others >= most_keys) then
        return;
    end if;
    return query
    insert into ado.task_values as v (task_id, key, value, version, idempotency_key)
    select of_task, name, new_value, 1, write_key
    where other_bytes + octet_length(new_value::text) + octet_length(name) <= most_bytes
    on conflict (task_id, key) do update set value = excluded.value, version = v.version + 1,
        idempotency_key = excluded.idempotency_key
    where (expected is null or v.version = expected)
      and (v.idempotency_key is null or v.idempotency_key is distinct from excluded.idempotency_key)
    returning v.*;
end $$;
comment on function ado.set_value(bigint, text, json, bigint, bigint, bigint, text, integer, integer) is 'Writes a value of a task''s store; with an expected version only over that one (0: only if the key is new). No row: refused.';
revoke all on function ado.set_value(bigint, text, json, bigint, bigint, bigint, text, integer, integer) from public;

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant execute on function ado.set_value(bigint, text, json, bigint, bigint, bigint, text, integer, integer) to ado_api;
    end if;
end $$;
