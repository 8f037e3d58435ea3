-- oldest: 26
-- Notifications of people and programs by webhooks: who wants them, and an outbox of those that were not delivered yet.

create table ado.notification_targets (
    target_id  bigint generated always as identity primary key,
    url        text not null,
    format     text not null check (format in ('json', 'slack', 'ntfy')),
    events     text[] not null check (cardinality(events) > 0
                                      and events <@ array['question', 'succeeded', 'failed', 'cancelled']),
    labels     jsonb not null default '{}',
    mine       boolean not null,
    secret     json,
    sealed     text,
    created_by text,
    created_at timestamptz not null default now(),
    check ((secret is null) <> (sealed is null))
);
comment on table ado.notification_targets is 'Addresses that are told of ends of tasks and of questions.';
comment on column ado.notification_targets.target_id is 'The number in the public id notify-N.';
comment on column ado.notification_targets.url is 'Where notifications are sent.';
comment on column ado.notification_targets.format is 'json: as the Standard Webhooks specification says; slack; ntfy.';
comment on column ado.notification_targets.events is 'What it is told of: question, or how a task ended.';
comment on column ado.notification_targets.labels is 'Labels that a task must have; empty: any.';
comment on column ado.notification_targets.mine is 'Whether it is told only of tasks of its creator.';
comment on column ado.notification_targets.secret is 'The key of the signatures, as an object with the member secret; null where it is sealed.';
comment on column ado.notification_targets.sealed is 'The same as one ciphertext; the replicas have the key (ADO_DATA_KEY).';
comment on column ado.notification_targets.created_by is 'Public id of the user, or of the service''s token, who added it; null: made on the database.';
comment on column ado.notification_targets.created_at is 'When it was added.';

create table ado.notifications (
    notification_id bigint generated always as identity primary key,
    target_id       bigint not null references ado.notification_targets on delete cascade,
    task_id         bigint not null,
    event           text not null,
    body            json not null,
    state           text not null default 'waiting' check (state in ('waiting', 'delivered', 'failed')),
    tries           integer not null default 0,
    next_try_at     timestamptz not null default now(),
    error           text,
    created_at      timestamptz not null default now(),
    ended_at        timestamptz,
    check ((ended_at is null) = (state = 'waiting'))
);
create index notifications_waiting_idx on ado.notifications (target_id, next_try_at) where state = 'waiting';
create index notifications_ended_idx on ado.notifications (ended_at) where state <> 'waiting';
create index notifications_target_idx on ado.notifications (target_id);
comment on table ado.notifications is 'The outbox. A replica that dies while it sends leaves its row waiting, so a notification may arrive twice with the same id.';
comment on column ado.notifications.notification_id is 'The number in the id that the receiver sees: notification-N.';
comment on column ado.notifications.target_id is 'Where it goes.';
comment on column ado.notifications.task_id is 'The task that it is about.';
comment on column ado.notifications.event is 'question, succeeded, failed or cancelled.';
comment on column ado.notifications.body is 'What the receiver is told, from the transaction that caused it.';
comment on column ado.notifications.state is 'waiting, delivered, or failed (given up).';
comment on column ado.notifications.tries is 'How often a replica took it to send it.';
comment on column ado.notifications.next_try_at is 'When a replica may take it; the replica that takes it moves this ahead.';
comment on column ado.notifications.error is 'Why the last try failed.';
comment on column ado.notifications.created_at is 'When it was caused.';
comment on column ado.notifications.ended_at is 'When it was delivered or given up.';

create function ado.notify_targets(of_task ado.tasks, of_event text, details json) returns void
    language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into ado.notifications (target_id, task_id, event, body)
    select n.target_id, of_task.task_id, of_event, json_build_object(
        'type', case of_event when 'question' then 'question.asked' else 'task.' || of_event end,
        'timestamp', now(),
        'data', json_strip_nulls(json_build_object(
            'taskId', 'task-' || of_task.task_id, 'agent', of_task.agent, 'workers', of_task.workers,
            'labels', of_task.labels, 'promptStart', left(of_task.prompt, 200),
            'createdBy', ado.account_name(of_task.created_by), 'createdAt', of_task.created_at,
            'finishedAt', of_task.finished_at, 'reason', of_task.reason, 'message', left(of_task.message, 2000),
            'failedJob', of_task.failed_job, 'question', details)))
    from ado.notification_targets n
    left join ado.users u on 'user-' || u.user_id = n.created_by
    where of_event = any(n.events) and of_task.labels @> n.labels
      -- The rights of the creator as they are now: a disabled user is told nothing, a developer only of own tasks.
      and u.disabled_at is null
      and (n.created_by is not distinct from of_task.created_by
           or not n.mine and coalesce(u.role in ('operator', 'admin'), true))
$$;
comment on function ado.notify_targets(ado.tasks, text, json) is 'Puts a notification into the outbox for each target that wants it.';
revoke all on function ado.notify_targets(ado.tasks, text, json) from public;

-- Triggers, because several statements end tasks and ask questions, and each end must be told of in its transaction.
create function ado.notify_of_end() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform ado.notify_targets(new, new.status, null);
    return null;
end $$;
comment on function ado.notify_of_end() is 'Puts the end of a task into the outbox.';
create trigger notify_of_end after update of status on ado.tasks
    for each row when (old.finished_at is null and new.finished_at is not null) execute function ado.notify_of_end();

create function ado.notify_of_question() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform ado.notify_targets(t, 'question', json_build_object(
        'questionId', 'question-' || new.question_id, 'job', new.job, 'kind', new.kind, 'text', left(new.text, 2000),
        'options', new.options, 'default', left(new.default_answer, 2000), 'expiresAt', new.expires_at))
    from ado.tasks t where t.task_id = new.task_id;
    return null;
end $$;
comment on function ado.notify_of_question() is 'Puts a question into the outbox.';
create trigger notify_of_question after insert on ado.questions
    for each row execute function ado.notify_of_question();

create view ado.notification_status as
select t.target_id, t.format, t.events, t.created_by,
       count(*) filter (where n.state = 'waiting') as waiting,
       count(*) filter (where n.state = 'delivered') as delivered,
       count(*) filter (where n.state = 'failed') as failed,
       min(n.created_at) filter (where n.state = 'waiting') as oldest_waiting_at,
       min(n.next_try_at) filter (where n.state = 'waiting') as next_try_at,
       (array_agg(n.error order by n.notification_id desc)
            filter (where n.error is not null and n.state <> 'delivered'))[1] as last_error
from ado.notification_targets t left join ado.notifications n using (target_id)
group by t.target_id;
comment on view ado.notification_status is 'What became of the notifications of each target; delivered and failed ones are counted for a week.';
comment on column ado.notification_status.target_id is 'The number in the public id notify-N.';
comment on column ado.notification_status.format is 'json, slack or ntfy.';
comment on column ado.notification_status.events is 'What it is told of: question, or how a task ended.';
comment on column ado.notification_status.created_by is 'Public id of the user, or of the service''s token, who added it.';
comment on column ado.notification_status.waiting is 'How many notifications wait.';
comment on column ado.notification_status.delivered is 'How many were delivered.';
comment on column ado.notification_status.failed is 'How many were given up.';
comment on column ado.notification_status.oldest_waiting_at is 'Since when the oldest one waits.';
comment on column ado.notification_status.next_try_at is 'When a replica tries next.';
comment on column ado.notification_status.last_error is 'Why the newest undelivered one could not be delivered.';

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select, insert, delete on ado.notification_targets to ado_api;
        grant select, insert, update, delete on ado.notifications to ado_api;
        grant select on ado.notification_status to ado_api;
    end if;
    if exists (select from pg_roles where rolname = 'ado_readonly') then
        grant select on ado.notification_status to ado_readonly;
    end if;
end $$;
