-- oldest: 26
-- Messages: words from a person or a program to the agents of a task's jobs, each delivered once to each job.

create table ado.messages (
    message_id      bigint generated always as identity primary key,
    task_id         bigint not null references ado.tasks on delete cascade,
    job             integer,
    text            text not null,
    sender          text,
    sender_name     text,
    idempotency_key text,
    created_at      timestamptz not null,
    unique (task_id, idempotency_key)
);
comment on table ado.messages is 'Words to the agents of a task''s jobs.';
comment on column ado.messages.message_id is 'The number in the public id message-N.';
comment on column ado.messages.task_id is 'The task.';
comment on column ado.messages.job is 'The job that it was sent to; null: every job that was not cancelled.';
comment on column ado.messages.text is 'The words.';
comment on column ado.messages.sender is 'Public id of the user, or of the service''s token; null: an administrator''s database session.';
comment on column ado.messages.sender_name is 'The name of the user or service.';
comment on column ado.messages.idempotency_key is 'The sender''s key: the same one stores nothing again.';
comment on column ado.messages.created_at is 'When it was stored.';

create table ado.message_jobs (
    message_id   bigint not null references ado.messages on delete cascade,
    task_id      bigint not null,
    job          integer not null,
    sent_in      integer,
    delivered_in integer,
    delivered_at timestamptz,
    primary key (task_id, job, message_id),
    foreign key (task_id, job) references ado.jobs on delete cascade
);
create index message_jobs_message_idx on ado.message_jobs (message_id);
create index message_jobs_waiting_idx on ado.message_jobs (task_id, job) where delivered_at is null;
comment on table ado.message_jobs is 'The jobs that each message is for, with the receipts of their agents.';
comment on column ado.message_jobs.message_id is 'The message.';
comment on column ado.message_jobs.task_id is 'The task.';
comment on column ado.message_jobs.job is 'The job.';
comment on column ado.message_jobs.sent_in is 'The attempt that ran when it was sent; null: none did.';
comment on column ado.message_jobs.delivered_in is 'The attempt whose agent took it first; null: none yet.';
comment on column ado.message_jobs.delivered_at is 'When the receipt was stored.';

alter table ado.jobs add column last_message_id bigint;
alter table ado.jobs add column continues boolean not null default false;
comment on column ado.jobs.last_message_id is 'The newest message to its agent; null: none.';
comment on column ado.jobs.continues is 'Whether its next attempts resume the session of one that had ended, because a message came after the end.';

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select, insert, delete on ado.messages to ado_api;
        grant select, insert, update on ado.message_jobs to ado_api;
    end if;
end $$;
