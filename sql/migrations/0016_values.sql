-- oldest: 8
-- The limit of keys of a task's store, kept also by writers at the same time: each looks at the count after it has
-- locked the task's log, which takes a look of its own and so a statement of its own.

create function ado.set_value(of_task bigint, name text, new_value json, expected bigint, most bigint, write_key text,
                              writer_job integer, writer_attempt integer)
    returns setof ado.task_values
    language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    is_new boolean;
begin
    if writer_job is not null then
        perform from ado.jobs j
        where j.task_id = of_task and j.job = writer_job and j.attempt = writer_attempt and j.status = 'running'
        for share;
        if not found then
            return;
        end if;
    end if;
    is_new := not exists (select from ado.task_values v where v.task_id = of_task and v.key = name);
    if is_new then
        if coalesce(expected, 0) <> 0 then
            return;
        end if;
        perform from ado.task_logs l where l.task_id = of_task for update;
        if not found then
            return;
        end if;
    end if;
    return query
    insert into ado.task_values as v (task_id, key, value, version, idempotency_key)
    select of_task, name, new_value, 1, write_key
    where not is_new
       or (select count(*) from ado.task_values v where v.task_id = of_task) < most
       or exists (select from ado.task_values v where v.task_id = of_task and v.key = name)
    on conflict (task_id, key) do update set value = excluded.value, version = v.version + 1,
        idempotency_key = excluded.idempotency_key
    where (expected is null or v.version = expected)
      and (v.idempotency_key is null or v.idempotency_key is distinct from excluded.idempotency_key)
    returning v.*;
end $$;
comment on function ado.set_value(bigint, text, json, bigint, bigint, text, integer, integer) is 'Writes a value of a task''s store; with an expected version only over that one (0: only if the key is new). No row: refused.';
revoke all on function ado.set_value(bigint, text, json, bigint, bigint, text, integer, integer) from public;

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant execute on function ado.set_value(bigint, text, json, bigint, bigint, text, integer, integer) to ado_api;
    end if;
end $$;
