-- Jobs and tasks can be paused: they wait, without a worker, until somebody resumes them. There is no line "oldest",
-- because an older release takes a task whose jobs are all paused for one that has ended.

alter table ado.tasks drop constraint tasks_status_check, add constraint tasks_status_check
    check (status in ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled'));
alter table ado.jobs drop constraint jobs_status_check, add constraint jobs_status_check
    check (status in ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled'));
comment on column ado.tasks.status is 'queued: nothing claimed yet; running: from the first claim until all jobs ended; paused: every job that has not ended is paused; then succeeded, failed or cancelled.';
comment on column ado.jobs.status is 'queued, running, paused, succeeded, failed or cancelled; the last three change only by tasks.retry and messages.';

alter table ado.jobs add column pause_requested_at timestamptz;
comment on column ado.jobs.pause_requested_at is 'Since when somebody wants it paused; null: nobody. A running job is paused once its attempt has ended.';

drop index ado.tasks_open_idx;
create index tasks_open_idx on ado.tasks (task_id) where status in ('queued', 'running', 'paused');
drop index ado.tasks_unsettled_idx;
create index tasks_unsettled_idx on ado.tasks (task_id)
    where status = 'running' or status = 'queued' and (cancel_requested_at is not null or failed_job is not null)
       or status = 'paused' and cancel_requested_at is not null;
drop index ado.jobs_open_idx;
create index jobs_open_idx on ado.jobs (task_id) where status in ('queued', 'running', 'paused');
drop index ado.jobs_user_idx;
create index jobs_user_idx on ado.jobs (user_id, status)
    where user_id <> 0 and status in ('queued', 'running', 'paused');

-- A paused job waits like a queued one. Otherwise a user could pause jobs to have more of them than the limit allows.
create or replace view ado.user_status as
select 'user-' || u.user_id as public_id, u.user_id, u.name, u.role, u.disabled_at,
       coalesce(u.running_limit, r.running_limit) as running_limit,
       (select count(*) from ado.jobs j
        where j.user_id = u.user_id and j.user_id <> 0 and j.status = 'running') as running,
       coalesce(u.queued_limit, r.queued_limit) as queued_limit,
       (select count(*) from ado.jobs j
        where j.user_id = u.user_id and j.user_id <> 0 and j.status in ('queued', 'paused')) as queued,
       coalesce(u.cost_limit, r.cost_limit) as cost_limit,
       (select coalesce(sum(a.cost_usd), 0) from ado.attempt_usage a
        where a.user_id = u.user_id and a.user_id <> 0 and a.at > now() - interval '24 hours') as cost
from ado.users u left join ado.role_limits r using (role);
comment on column ado.user_status.queued is 'How many of its jobs wait, paused ones included.';

create or replace view ado.task_status as
select 'task-' || t.task_id as task, t.task_id, t.status, t.reason, t.message, t.agent, t.workers, t.priority, t.labels,
       left(t.prompt, 80) as prompt, n.queued, n.running, n.succeeded, n.failed, n.cancelled, l.last_seq,
       t.created_at, t.started_at, t.finished_at, t.cancel_requested_at, n.paused
from ado.tasks t
left join ado.task_logs l using (task_id)
cross join lateral (
    select count(*) filter (where j.status = 'queued') as queued,
           count(*) filter (where j.status = 'running') as running,
           count(*) filter (where j.status = 'paused') as paused,
           count(*) filter (where j.status = 'succeeded') as succeeded,
           count(*) filter (where j.status = 'failed') as failed,
           count(*) filter (where j.status = 'cancelled') as cancelled
    from ado.jobs j where j.task_id = t.task_id
) n;
comment on column ado.task_status.paused is 'How many of its jobs are paused.';

create or replace view ado.job_status as
select 'task-' || j.task_id || '/' || j.job as job_id, j.task_id, j.job, j.status, j.attempt, j.worker_id, j.needs,
       j.cpu, j.memory, j.gpu, j.priority, j.losses, j.failures, j.exit_code, j.reason, j.message, j.stop_reason,
       j.stop_requested_at, j.lease_expires_at, j.run_after, j.started_at, j.finished_at, j.output_bytes,
       j.dropped_bytes, j.pause_requested_at
from ado.jobs j;
comment on column ado.job_status.pause_requested_at is 'Since when somebody wants it paused; null: nobody. A running job is paused once its attempt has ended.';
