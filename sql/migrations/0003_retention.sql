-- Ranges of the log that fit the installation, a limit of stored output, and what an operator sees of both.

alter table ado.jobs
    add column output_bytes bigint not null default 0,
    add column dropped_bytes bigint not null default 0;
comment on column ado.jobs.output_bytes is 'Output of the attempt that was stored; at the replicas'' limit no more is.';
comment on column ado.jobs.dropped_bytes is 'Output of the attempt that came after the limit and was dropped.';

create or replace function ado.extend_log(upto bigint) returns integer
    language plpgsql security definer set search_path = pg_catalog as $$
declare
    newest bigint;
    width bigint;
    low bigint;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(hashtextextended('ado.extend_log', 0));
    -- A range is dropped whole, so it holds about a day: the largest of 100, 1000 and 10000 ids used up in one.
    select max(task_id) into newest from ado.tasks;
    select coalesce(max(w), 100) into width from (values (1000), (10000)) as widths(w)
    where (select t.created_at from ado.tasks t where t.task_id <= newest - w order by t.task_id desc limit 1)
        > now() - interval '1 day';
    -- ids are used up without a task too, by creates that found their idempotency key taken
    select greatest(upto, s.last_value + 100) into upto from ado.tasks_task_id_seq s;
    select coalesce(max(to_task_id), 0) into low from ado.log_ranges;
    while low <= upto loop
        -- made apart and then attached: that waits for no append, and no append waits for it
        execute format('create table ado.events_%s (like ado.events including storage)', low);
        execute format('alter table ado.events attach partition ado.events_%s for values from (%s) to (%s)',
                       low, low, low + width);
        insert into ado.log_ranges (from_task_id, to_task_id) values (low, low + width);
        low := low + width;
        made := made + 1;
    end loop;
    return made;
end $$;

do $$
declare
    low bigint;
begin
    if not exists (select from ado.tasks) then -- the ranges that were made for nobody yet are too wide
        for low in delete from ado.log_ranges returning from_task_id loop
            execute format('drop table ado.events_%s', low);
        end loop;
        perform ado.extend_log(499);
    end if;
end $$;

create or replace view ado.job_status as
select 'task-' || j.task_id || '/' || j.job as job_id, j.task_id, j.job, j.status, j.attempt, j.worker_id, j.needs,
       j.cpu, j.memory, j.gpu, j.priority, j.losses, j.failures, j.exit_code, j.reason, j.message, j.stop_reason,
       j.stop_requested_at, j.lease_expires_at, j.run_after, j.started_at, j.finished_at, j.output_bytes,
       j.dropped_bytes
from ado.jobs j;

create view ado.log_status as
select r.from_task_id as first_task_id, r.to_task_id - 1 as last_task_id, n.tasks, n.open_tasks, n.last_finished_at,
       coalesce(pg_total_relation_size(to_regclass(format('ado.events_%s', r.from_task_id))), 0) as bytes, r.pruned_at
from ado.log_ranges r
cross join lateral (
    select count(*) as tasks, count(*) filter (where t.finished_at is null) as open_tasks,
           max(t.finished_at) as last_finished_at
    from ado.tasks t where t.task_id >= r.from_task_id and t.task_id < r.to_task_id
) n;
comment on view ado.log_status is 'The ranges of the log: their tasks, their size, and which were pruned.';

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_readonly') then
        grant select on ado.log_status to ado_readonly;
    end if;
end $$;
