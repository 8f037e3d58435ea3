-- Pods: what spawners have decided to run on a cluster. Lock order: … workers → jobs → task_logs → tasks → pods.

alter table ado.control add column installation text not null default replace(gen_random_uuid()::text, '-', '');
comment on column ado.control.installation is 'Label of everything this installation makes on a cluster: nobody else''s is ever touched.';

alter table ado.tasks add column pod json;
comment on column ado.tasks.pod is 'What the task asks of its pods: image, nodeSelector.';

create sequence ado.decisions;
create table ado.pods (
    name         text primary key,
    decision     bigint not null unique,
    namespace    text not null,
    task_id      bigint,
    job          integer,
    capabilities text[] not null default '{}',
    state        text not null default 'wanted' check (state in ('wanted', 'placed', 'ending', 'ended')),
    uid          text,
    act_after    timestamptz not null default now(),
    claimed_at   timestamptz,
    reason       text,
    reason_since timestamptz,
    requested_at timestamptz not null default now(),
    ended_at     timestamptz,
    check ((task_id is null) = (job is null)),
    check ((ended_at is not null) = (state = 'ended'))
);
create unique index pods_job_idx on ado.pods (task_id, job) where state in ('wanted', 'placed') and claimed_at is null;
create index pods_jobs_idx on ado.pods (task_id, job) where state in ('wanted', 'placed');
create index pods_open_idx on ado.pods (namespace, decision) where state <> 'ended';
create index pods_ended_idx on ado.pods (ended_at) where state = 'ended';

comment on table ado.pods is 'One row per decision to run a pod. Its worker has the pod''s name and takes one job: that of the row, or, while the row names none (a warm pod), the first it claims.';
comment on column ado.pods.name is 'Name of the pod, of its Secret and of its worker.';
comment on column ado.pods.decision is 'Number of the decision; part of the name, so that a repeated request makes no second pod.';
comment on column ado.pods.namespace is 'Namespace of the pod.';
comment on column ado.pods.task_id is 'Task of the job it is for; null: a warm pod that has claimed nothing yet.';
comment on column ado.pods.job is 'Index of the job it is for.';
comment on column ado.pods.capabilities is 'What the overrides of its template are chosen by.';
comment on column ado.pods.state is 'wanted: to be made; placed: pod and Secret exist; ending: to be removed; ended: gone.';
comment on column ado.pods.uid is 'The cluster''s id of the pod; null: not known to exist.';
comment on column ado.pods.act_after is 'Nobody makes or removes it before: a spawner is at it, or the cluster has refused.';
comment on column ado.pods.claimed_at is 'When its worker made its one claim.';
comment on column ado.pods.reason is 'What is wrong with it, as last told: one word of a closed list.';
comment on column ado.pods.reason_since is 'Since when.';
comment on column ado.pods.requested_at is 'When it was decided.';
comment on column ado.pods.ended_at is 'When it was gone.';

create view ado.pod_status as
select p.name as pod, p.namespace, 'task-' || p.task_id || '/' || p.job as job_id, p.task_id, p.job, p.state, p.reason,
       p.reason_since, w.state as worker_state, p.claimed_at, p.requested_at, p.ended_at
from ado.pods p left join ado.worker_status w on w.worker_id = p.name;
comment on view ado.pod_status is 'Every pod that was decided, what has become of it, and what is wrong with it.';
comment on column ado.pod_status.pod is 'Name of the pod and of its worker.';
comment on column ado.pod_status.namespace is 'Namespace of the pod.';
comment on column ado.pod_status.job_id is 'Public id of the job it is for; null: a warm pod that has claimed nothing yet.';
comment on column ado.pod_status.task_id is 'Task of that job.';
comment on column ado.pod_status.job is 'Index of that job.';
comment on column ado.pod_status.state is 'wanted: to be made; placed: it exists; ending: to be removed; ended: gone.';
comment on column ado.pod_status.reason is 'What is wrong with it, as last told.';
comment on column ado.pod_status.reason_since is 'Since when.';
comment on column ado.pod_status.worker_state is 'State of its worker.';
comment on column ado.pod_status.claimed_at is 'When its worker made its one claim.';
comment on column ado.pod_status.requested_at is 'When it was decided.';
comment on column ado.pod_status.ended_at is 'When it was gone.';

-- Which job a worker may claim is said by its pod's row alone.
alter table ado.tokens drop column task_id, drop column job;

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select, insert, update, delete on ado.pods to ado_api;
        grant usage on sequence ado.decisions to ado_api;
    end if;
    if exists (select from pg_roles where rolname = 'ado_readonly') then
        grant select on ado.pod_status to ado_readonly;
    end if;
end $$;
