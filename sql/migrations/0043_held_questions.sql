-- A question that its attempt no longer waits for, because its job is paused until the answer comes.

alter table ado.questions add column carried boolean not null default false;
comment on column ado.questions.carried is 'Whether it ended while its job was paused for it, so that the next attempt begins with the answer.';
create index jobs_held_idx on ado.jobs (task_id, job) where status = 'paused' and reason = 'question';
