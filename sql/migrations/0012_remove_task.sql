-- oldest: 8
-- Removing one task, as its owner asks. It runs with its owner's rights, because a replica may not delete events.

create function ado.remove_task(unwanted bigint) returns text
    language plpgsql security definer set search_path = pg_catalog as $$
declare
    found text;
begin
    -- The locks are taken in the order of every other statement, so a retry at the same time waits or comes first.
    perform from ado.jobs j where j.task_id = unwanted order by j.job for update;
    perform from ado.task_logs l where l.task_id = unwanted for update;
    select t.status into found from ado.tasks t where t.task_id = unwanted for update;
    if found in ('succeeded', 'failed', 'cancelled') then
        delete from ado.files f where f.task_id = unwanted;
        delete from ado.task_values v where v.task_id = unwanted;
        delete from ado.task_environments e where e.task_id = unwanted;
        delete from ado.events e where e.task_id = unwanted;
        delete from ado.jobs j where j.task_id = unwanted;
        delete from ado.task_logs l where l.task_id = unwanted;
        delete from ado.tasks t where t.task_id = unwanted;
    end if;
    return found;
end $$;
comment on function ado.remove_task(bigint) is 'Deletes an ended task and all that belongs to it except ado.attempt_usage; returns the status it had. A task that has not ended stays.';
revoke all on function ado.remove_task(bigint) from public;

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant execute on function ado.remove_task(bigint) to ado_api;
    end if;
end $$;
