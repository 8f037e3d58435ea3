-- oldest: 26
-- Templates of tasks, and schedules that run them at times.

create table ado.templates (
    template_id bigint generated always as identity primary key,
    name        text not null unique check (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    task        json not null,
    saved_by    text,
    created_at  timestamptz not null default now(),
    saved_at    timestamptz not null default now()
);
comment on table ado.templates is 'Tasks to run again by a name. They have no values of environments and no files.';
comment on column ado.templates.template_id is 'The number that schedules refer to.';
comment on column ado.templates.name is 'The name that people use: ado run @name.';
comment on column ado.templates.task is 'The input of tasks.create; {name} in its prompt is a variable.';
comment on column ado.templates.saved_by is 'Public id of the user, or of the service''s token, who saved it last.';
comment on column ado.templates.created_at is 'When it was saved for the first time.';
comment on column ado.templates.saved_at is 'When it was saved last.';

create table ado.schedules (
    schedule_id   bigint generated always as identity primary key,
    template_id   bigint not null references ado.templates,
    cron          text not null,
    timezone      text not null,
    variables     jsonb not null default '{}',
    missed        text not null check (missed in ('once', 'skip')),
    overlap       text not null check (overlap in ('skip', 'allow', 'cancel')),
    created_by    text not null,
    created_at    timestamptz not null default now(),
    paused_at     timestamptz,
    after_at      timestamptz not null,
    next_at       timestamptz not null check (next_at > after_at),
    retry_at      timestamptz,
    failures      integer not null default 0,
    problem       text,
    last_at       timestamptz,
    last_task_id  bigint,
    runs          bigint not null default 0,
    skipped_times bigint not null default 0,
    missed_times  bigint not null default 0
);
create index schedules_next_idx on ado.schedules (next_at) where paused_at is null;
create index schedules_template_idx on ado.schedules (template_id);
comment on table ado.schedules is 'Templates that run at times. The statement that creates the task of a time moves next_at, so a time runs once.';
comment on column ado.schedules.schedule_id is 'The number in the public id schedule-N.';
comment on column ado.schedules.template_id is 'What it runs, as the template is at that time.';
comment on column ado.schedules.cron is 'When, as a cron expression.';
comment on column ado.schedules.timezone is 'The time zone of the expression.';
comment on column ado.schedules.variables is 'Values of the template''s variables.';
comment on column ado.schedules.missed is 'What becomes of times when nothing could run: once (one run for all of them) or skip.';
comment on column ado.schedules.overlap is 'What becomes of a time while the task of the last one has not ended: skip, allow, or cancel that task.';
comment on column ado.schedules.created_by is 'Public id of the user, or of the service''s token, for whom it runs.';
comment on column ado.schedules.created_at is 'When it was added.';
comment on column ado.schedules.paused_at is 'Since when it is paused; null: it runs.';
comment on column ado.schedules.after_at is 'next_at is the first time after this one; so it is planned again when the rules of a time zone change.';
comment on column ado.schedules.next_at is 'The next time, and the fence of each change of it.';
comment on column ado.schedules.retry_at is 'When it is tried again after a failure.';
comment on column ado.schedules.failures is 'How often the next time was tried in vain.';
comment on column ado.schedules.problem is 'Why a time did not run; null once a later one has.';
comment on column ado.schedules.last_at is 'The last time that ran.';
comment on column ado.schedules.last_task_id is 'The task of that time.';
comment on column ado.schedules.runs is 'How many times ran.';
comment on column ado.schedules.skipped_times is 'How many times were skipped because the task of the last one had not ended.';
comment on column ado.schedules.missed_times is 'How many times did not run because nothing could run them in time.';

create function ado.standing(account text) returns text
    language sql stable set search_path = pg_catalog, pg_temp as $$
    select coalesce(
        (select u.role from ado.users u
         where u.user_id = substring(account from '^user-([0-9]{1,18})$')::bigint and u.disabled_at is null),
        (select t.role from ado.tokens t
         where t.token_id = account and t.user_id is null and t.revoked_at is null
           and coalesce(t.expires_at > now(), true)))
$$;
comment on function ado.standing(text) is 'The role of a user or of a service''s token by its public id; null for a user who is disabled and a token that has ended.';
revoke all on function ado.standing(text) from public;

create view ado.schedule_status as
select s.schedule_id, t.name as template, s.cron, s.timezone, s.missed, s.overlap,
       s.created_by,
       case when s.paused_at is not null then 'paused' when s.failures > 0 then 'failing' else 'active' end as state,
       case when s.paused_at is null then s.next_at end as next_at, s.retry_at, s.last_at, s.last_task_id,
       p.status as last_status, s.problem, s.runs, s.skipped_times, s.missed_times
from ado.schedules s
join ado.templates t using (template_id)
left join ado.tasks p on p.task_id = s.last_task_id;
comment on view ado.schedule_status is 'What runs at times, and how it went.';
comment on column ado.schedule_status.schedule_id is 'The number in the public id schedule-N.';
comment on column ado.schedule_status.template is 'The name of what it runs.';
comment on column ado.schedule_status.cron is 'When, as a cron expression.';
comment on column ado.schedule_status.timezone is 'The time zone of the expression.';
comment on column ado.schedule_status.missed is 'What becomes of times when nothing could run: once or skip.';
comment on column ado.schedule_status.overlap is 'What becomes of a time while the last task has not ended: skip, allow or cancel.';
comment on column ado.schedule_status.created_by is 'Public id of the user, or of the service''s token, for whom it runs.';
comment on column ado.schedule_status.state is 'active, failing (the next time is tried again), or paused.';
comment on column ado.schedule_status.next_at is 'The next time; null while it is paused.';
comment on column ado.schedule_status.retry_at is 'When it is tried again after a failure.';
comment on column ado.schedule_status.last_at is 'The last time that ran.';
comment on column ado.schedule_status.last_task_id is 'The task of that time.';
comment on column ado.schedule_status.last_status is 'The status of that task; null once it is removed.';
comment on column ado.schedule_status.problem is 'Why a time did not run; null once a later one has.';
comment on column ado.schedule_status.runs is 'How many times ran.';
comment on column ado.schedule_status.skipped_times is 'How many times were skipped because the last task had not ended.';
comment on column ado.schedule_status.missed_times is 'How many times did not run because nothing could run them in time.';

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select, insert, update, delete on ado.templates, ado.schedules to ado_api;
        grant select on ado.schedule_status to ado_api;
        grant execute on function ado.standing(text) to ado_api;
    end if;
    if exists (select from pg_roles where rolname = 'ado_readonly') then
        grant select on ado.schedule_status to ado_readonly;
    end if;
end $$;
