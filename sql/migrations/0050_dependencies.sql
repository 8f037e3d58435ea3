-- A task can start after others have ended. There is no line "oldest", because an older release resumes and retries
-- tasks that wait.

create table ado.dependencies (
    task_id       bigint not null references ado.tasks on delete cascade,
    after_task_id bigint not null,  -- no reference: the outcome stays known when that task has been removed
    any_end       boolean not null,
    outcome       text check (outcome in ('succeeded', 'failed', 'cancelled')),
    primary key (task_id, after_task_id)
);
create index dependencies_open_idx on ado.dependencies (after_task_id, task_id) where outcome is null;
comment on table ado.dependencies is 'Which tasks start after which. The jobs of a task that waits are paused with the reason waits_for_task.';
comment on column ado.dependencies.task_id is 'The task that waits.';
comment on column ado.dependencies.after_task_id is 'The task that it waits for. It is older, so there are no cycles.';
comment on column ado.dependencies.any_end is 'Whether any end of that task will do; else it must succeed, and otherwise the waiting task is cancelled.';
comment on column ado.dependencies.outcome is 'How that task ended, as far as it counts here; null: it is waited for.';

alter table ado.tasks add column is_awaited boolean not null default false;
comment on column ado.tasks.is_awaited is 'Whether tasks wait for its end that have not been told of it.';
create index tasks_awaited_idx on ado.tasks (task_id)
    where is_awaited and status in ('succeeded', 'failed', 'cancelled');

-- Each statement of a function sees what was committed before it began. So with the log locked, which the end of a task
-- needs, the status is the newest one, and an end that comes later finds the mark.
create function ado.await_tasks(awaited bigint[]) returns table (task_id bigint, status text)
    language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform from ado.task_logs l where l.task_id = any(awaited) order by l.task_id for update;
    update ado.tasks t set is_awaited = true
    where t.task_id = any(awaited) and not t.is_awaited and t.status in ('queued', 'running', 'paused');
    return query select t.task_id, t.status from ado.tasks t where t.task_id = any(awaited);
end $$;
comment on function ado.await_tasks(bigint[]) is 'Locks the logs of the tasks until the transaction ends, marks those that have not ended as awaited, and returns the status of each that exists.';

create function ado.await_again(waiting bigint) returns text
    language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from ado.dependencies d where d.task_id = waiting) then
        return 'ready';
    end if;
    update ado.dependencies d set outcome = case when p.status in ('succeeded', 'failed', 'cancelled') then p.status end
    from ado.await_tasks(array(
        select u.after_task_id from ado.dependencies u
        where u.task_id = waiting and not u.any_end and u.outcome in ('failed', 'cancelled')
    )) p
    where d.task_id = waiting and d.after_task_id = p.task_id;
    if exists (select from ado.dependencies d
               where d.task_id = waiting and not d.any_end and d.outcome in ('failed', 'cancelled')) then
        return 'refused';
    end if;
    return case when exists (select from ado.dependencies d where d.task_id = waiting and d.outcome is null)
                then 'waits' else 'ready' end;
end $$;
comment on function ado.await_again(bigint) is 'Looks anew at the tasks that have not succeeded and that this one needed: refused if one of them still has not, waits if one has yet to end, else ready. The caller has locked its jobs.';

create view ado.waiting_tasks as
select 'task-' || w.task_id as task, w.task_id, w.any_end, w.open, w.first_open,
       'wait until ' || array_to_string(w.first_open, ', ')
           || case when w.open > 10 then format(' and %s others', w.open - 10) else '' end
           || case when w.open = 1 then ' has ' else ' have ' end
           || case when w.any_end then 'ended' else 'succeeded' end as help
from (
    select d.task_id, bool_and(d.any_end) as any_end, count(*) as open,
           (array_agg('task-' || d.after_task_id order by d.after_task_id))[:10] as first_open
    from ado.dependencies d where d.outcome is null
      and exists (select from ado.jobs j where j.task_id = d.task_id and j.status = 'paused'
                  and j.reason = 'waits_for_task')
    group by d.task_id
) w;
comment on view ado.waiting_tasks is 'The tasks that wait for others. Ask for one task.';
comment on column ado.waiting_tasks.task is 'Public id of the waiting task.';
comment on column ado.waiting_tasks.task_id is 'The waiting task.';
comment on column ado.waiting_tasks.any_end is 'Whether it starts however the others end.';
comment on column ado.waiting_tasks.open is 'For how many tasks it waits.';
comment on column ado.waiting_tasks.first_open is 'Public ids of those, the oldest ten.';
comment on column ado.waiting_tasks.help is 'What it waits for, in words.';

create or replace view ado.why_pending as
with pending as (
    select j.task_id, j.job, row_number() over (order by j.task_id, j.job) as position
    from ado.jobs j where j.status = 'queued'
    order by j.task_id, j.job limit 100
), waiting as (
    select j.task_id, j.job from ado.jobs j where j.status = 'paused' and j.reason = 'waits_for_task'
    order by j.task_id, j.job limit 100
)
select 'task-' || p.task_id || '/' || p.job as job_id, p.task_id, p.job, o.worker_id, o.state, o.unmet, o.help
from pending p cross join lateral (  -- one job after another, not all that are queued
    select * from ado.obstacles s where s.task_id = p.task_id and s.job = p.job offset 0
) o
union all
select 'task-' || w.task_id || '/' || w.job, w.task_id, w.job, null, null, 'waits_for_task', t.help
from waiting w cross join lateral (select * from ado.waiting_tasks s where s.task_id = w.task_id offset 0) t
order by 2, 3, 4;
comment on column ado.why_pending.unmet is 'What keeps this worker from claiming the job, the most basic first: waits_for_task, retry_delay, quota, agent_unhealthy, a reason of the job''s pod, no_live_worker, capability, suspect, draining, starting, too_large, slots, resources; null: nothing.';
create index jobs_waiting_idx on ado.jobs (task_id, job) where status = 'paused' and reason = 'waits_for_task';

create or replace function ado.remove_task(unwanted bigint) returns text
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    found text;
    awaited boolean;
begin
    -- The locks are taken in the order of every other statement, so a retry at the same time waits or comes first.
    perform from ado.jobs j where j.task_id = unwanted order by j.job for update;
    perform from ado.task_logs l where l.task_id = unwanted for update;
    select t.status, t.is_awaited into found, awaited from ado.tasks t where t.task_id = unwanted for update;
    if found in ('succeeded', 'failed', 'cancelled') then
        if awaited then
            return 'awaited';
        end if;
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
comment on function ado.remove_task(bigint) is 'Deletes an ended task and all that belongs to it except ado.attempt_usage; returns the status it had. A task that has not ended stays; so does one of whose end others have not been told: awaited.';

revoke all on function ado.await_tasks(bigint[]), ado.await_again(bigint) from public;
do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select, insert, update on ado.dependencies to ado_api;
        grant select on ado.waiting_tasks to ado_api;
        grant execute on function ado.await_tasks(bigint[]), ado.await_again(bigint) to ado_api;
    end if;
    if exists (select from pg_roles where rolname = 'ado_readonly') then
        grant select on ado.waiting_tasks to ado_readonly;
    end if;
end $$;
