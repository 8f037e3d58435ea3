-- oldest: 26
-- What a job needs a person to decide. The job waits for the answer; the first one stands.

create table ado.questions (
    question_id    bigint generated always as identity primary key,
    task_id        bigint not null,
    job            integer not null,
    attempt        integer not null,
    key            text not null,
    kind           text not null check (kind in ('permission', 'choice', 'text', 'budget')),
    text           text not null,
    options        json not null,
    default_answer text,
    expires_at     timestamptz,
    state          text not null default 'open' check (state in ('open', 'answered', 'expired', 'closed')),
    choice         text,
    answer         text,
    answered_by    text,
    created_at     timestamptz not null default now(),
    answered_at    timestamptz,
    unique (task_id, job, attempt, key),
    foreign key (task_id, job) references ado.jobs on delete cascade,
    check ((state = 'open') = (answered_at is null))
);
create index questions_open_idx on ado.questions (question_id) where state = 'open';
comment on table ado.questions is 'Questions of jobs to people.';
comment on column ado.questions.question_id is 'Its number; question-7 on the wire.';
comment on column ado.questions.task_id is 'The task.';
comment on column ado.questions.job is 'The job.';
comment on column ado.questions.attempt is 'The attempt that asks. When it ends, its open questions are closed.';
comment on column ado.questions.key is 'The asker''s key: the same key in the same attempt is the same question.';
comment on column ado.questions.kind is 'choice: one of the options; text: any words; permission: whether an agent may use a tool; budget: whether a spent budget is raised.';
comment on column ado.questions.text is 'The question.';
comment on column ado.questions.options is 'What to choose from: objects with id and label; empty for text.';
comment on column ado.questions.default_answer is 'The answer that counts once the time is over: an option''s id, or a text.';
comment on column ado.questions.expires_at is 'When the time is over; null: never.';
comment on column ado.questions.state is 'open, answered, expired (the time is over) or closed (the attempt has ended).';
comment on column ado.questions.choice is 'The id of the chosen option.';
comment on column ado.questions.answer is 'The answer''s text.';
comment on column ado.questions.answered_by is 'The name of the user or service that answered.';
comment on column ado.questions.created_at is 'When it was asked.';
comment on column ado.questions.answered_at is 'When it was answered, expired or was closed.';

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select, insert, update on ado.questions to ado_api;
    end if;
end $$;
