-- What each role may do, exactly; and views that tell an operator everything: every unmet requirement, every column.

create or replace view ado.why_pending as
with pending as (
    select j.*, row_number() over (order by j.task_id, j.job) as position
    from ado.jobs j where j.status = 'queued'
    order by j.task_id, j.job limit 100
)
select 'task-' || p.task_id || '/' || p.job as job_id, p.task_id, p.job, w.worker_id, w.state,
       n.unmet, coalesce(n.help, 'nothing: it will be claimed') as help
from pending p
left join ado.worker_status w on w.state not in ('dead', 'stopped')
cross join lateral (
    select (array_agg(r.unmet order by r.place))[1] as unmet, string_agg(r.help, '; ' order by r.place) as help
    from (values
        (1, p.run_after > now(), 'retry_delay', 'wait until ' || p.run_after),
        (2, w.worker_id is null, 'no_live_worker', 'start a worker that offers ' || array_to_string(p.needs, ', ')),
        (3, not p.needs <@ w.capabilities, 'capability', 'missing: ' || array_to_string(array(
            select unnest(p.needs) except select unnest(w.capabilities) order by 1), ', ')),
        (4, w.state = 'suspect', 'suspect', 'its last heartbeat was at ' || w.last_heartbeat_at),
        (5, w.state = 'draining', 'draining', 'it takes no new jobs and will end'),
        (6, w.state = 'starting', 'starting', 'it has not registered yet'),
        (7, p.cpu > w.cpu, 'too_large', format('a larger worker is needed, cpu: %s asked, %s there', p.cpu, w.cpu)),
        (8, p.memory > w.memory, 'too_large',
            format('a larger worker is needed, memory: %s asked, %s there', p.memory, w.memory)),
        (9, p.gpu > w.gpu, 'too_large', format('a larger worker is needed, gpu: %s asked, %s there', p.gpu, w.gpu)),
        (10, w.free_slots < 1, 'slots', 'all of its ' || w.slots || ' slots are taken'),
        (11, p.cpu <= w.cpu and p.cpu > w.free_cpu, 'resources',
            format('its running jobs hold what this one needs, cpu: %s asked, %s free', p.cpu, w.free_cpu)),
        (12, p.memory <= w.memory and p.memory > w.free_memory, 'resources',
            format('its running jobs hold what this one needs, memory: %s asked, %s free', p.memory, w.free_memory)),
        (13, p.gpu <= w.gpu and p.gpu > w.free_gpu, 'resources',
            format('its running jobs hold what this one needs, gpu: %s asked, %s free', p.gpu, w.free_gpu))
    ) r(place, holds, unmet, help)
    where r.holds
) n
order by p.position, w.worker_id;

-- Who may not see other users' sessions would read that there are no old transactions, so this looks as its owner.
create function ado.oldest_activity(out transaction_seconds double precision, out snapshot_age integer)
    language sql stable security definer set search_path = pg_catalog as $$
    select coalesce(max(extract(epoch from now() - a.xact_start)) filter (where a.pid <> pg_backend_pid()), 0),
           coalesce(max(age(a.backend_xmin)), 0)
    from pg_stat_activity a where a.datname = current_database()
$$;
comment on function ado.oldest_activity() is
    'Age of the oldest transaction in seconds, and of the oldest snapshot in transactions, in this database.';
revoke all on function ado.oldest_activity() from public;

create or replace view ado.database_health as
select o.transaction_seconds::numeric as oldest_transaction_seconds, o.snapshot_age as oldest_snapshot_age,
       (select extract(epoch from now() - c.last_tick_at) from ado.control c) as last_monitor_tick_seconds
from ado.oldest_activity() o;

-- A column of a view that shows a column of a table has its comment.
do $$
declare
    shown record;
begin
    for shown in
        select v.oid, v.relname, a.attname, col_description(t.oid, b.attnum) as description
        from (values ('task_status', 'tasks'), ('job_status', 'jobs'), ('worker_status', 'workers'),
                     ('queue_depth', 'jobs'), ('stream_latency', 'events'), ('why_pending', 'jobs'),
                     ('log_status', 'log_ranges')) as source(view_name, table_name)
        join pg_class v on v.oid = format('ado.%I', source.view_name)::regclass
        join pg_class t on t.oid = format('ado.%I', source.table_name)::regclass
        join pg_attribute a on a.attrelid = v.oid and a.attnum > 0
        join pg_attribute b on b.attrelid = t.oid and b.attname = a.attname
    loop
        execute format('comment on column ado.%I.%I is %L', shown.relname, shown.attname, shown.description);
    end loop;
end $$;
comment on column ado.task_status.task is 'Public id of the task.';
comment on column ado.task_status.prompt is 'The first 80 characters of the prompt.';
comment on column ado.task_status.queued is 'How many of its jobs are queued.';
comment on column ado.task_status.running is 'How many of its jobs are running.';
comment on column ado.task_status.succeeded is 'How many of its jobs succeeded.';
comment on column ado.task_status.failed is 'How many of its jobs failed.';
comment on column ado.task_status.cancelled is 'How many of its jobs were cancelled.';
comment on column ado.task_status.last_seq is 'seq of the last event of its log.';
comment on column ado.job_status.job_id is 'Public id of the job.';
comment on column ado.worker_status.state is 'starting, idle, busy, suspect, draining, dead or stopped.';
comment on column ado.worker_status.running_jobs is 'How many jobs it holds.';
comment on column ado.worker_status.free_slots is 'How many more jobs it may hold.';
comment on column ado.worker_status.free_cpu is 'Cores that its running jobs leave.';
comment on column ado.worker_status.free_memory is 'Bytes of memory that its running jobs leave.';
comment on column ado.worker_status.free_gpu is 'GPUs that its running jobs leave.';
comment on column ado.queue_depth.jobs is 'How many queued jobs need just this.';
comment on column ado.queue_depth.oldest is 'When the oldest of their tasks was created.';
comment on column ado.queue_depth.waiting_to_retry is 'How many of them wait before their next attempt.';
comment on column ado.stream_latency.task is 'Public id of the task.';
comment on column ado.stream_latency.worker_id is 'The worker that ran the attempt.';
comment on column ado.stream_latency.milliseconds is 'From the agent''s write to the database, corrected by the clock skew of the worker.';
comment on column ado.why_pending.job_id is 'Public id of the job.';
comment on column ado.why_pending.worker_id is 'A live worker; null when there is none.';
comment on column ado.why_pending.state is 'The worker''s state.';
comment on column ado.why_pending.unmet is 'What keeps this worker from claiming the job, the most basic first: retry_delay, no_live_worker, capability, suspect, draining, starting, too_large, slots, resources; null: nothing.';
comment on column ado.why_pending.help is 'Every requirement that is not met, with what would help.';
comment on column ado.log_status.first_task_id is 'First task id of the range.';
comment on column ado.log_status.last_task_id is 'Last task id of the range.';
comment on column ado.log_status.tasks is 'How many tasks there are in the range.';
comment on column ado.log_status.open_tasks is 'How many of them have not ended: while there are any the range stays.';
comment on column ado.log_status.last_finished_at is 'When the last of them ended.';
comment on column ado.log_status.bytes is 'Size on disk, with its index.';
comment on column ado.database_health.oldest_transaction_seconds is 'Age of the oldest transaction; one that never ends keeps dead rows from being cleaned, and claims get slow.';
comment on column ado.database_health.oldest_snapshot_age is 'Age of the oldest snapshot, in transactions.';
comment on column ado.database_health.last_monitor_tick_seconds is 'Since when no replica has watched over leases; above a few seconds none runs.';

-- The replicas' role: the verbs that their statements use, table by table. Pruning and migrating are an administrator's.
do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        revoke all on all tables in schema ado from ado_api;
        grant select on all tables in schema ado to ado_api;
        grant insert on ado.events to ado_api;
        grant insert, update on ado.tasks, ado.jobs, ado.task_logs, ado.task_values, ado.worker_scales to ado_api;
        grant insert, update, delete on ado.workers, ado.tokens to ado_api;
        grant insert on ado.task_environments to ado_api;
        grant update on ado.control to ado_api;
        grant execute on function ado.oldest_activity() to ado_api;
    end if;
    if exists (select from pg_roles where rolname = 'ado_readonly') then
        grant execute on function ado.oldest_activity() to ado_readonly;
    end if;
end $$;
