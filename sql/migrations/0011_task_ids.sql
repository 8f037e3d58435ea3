-- oldest: 8
-- Tasks that are created together get their ids before they are stored, so that each finds its own way back.
do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant usage on sequence ado.tasks_task_id_seq to ado_api;
    end if;
end $$;
