-- What an attempt owns, and how many of them a job may lose.

-- An attempt's token lives on its job: a later attempt overwrites it, so there is nothing to revoke and nothing to prune.
alter table ado.jobs add column token_digest bytea;
create index jobs_token_idx on ado.jobs (token_digest) where status = 'running';
comment on column ado.jobs.token_digest is 'SHA-256 of the token of the last attempt; valid while that attempt runs.';
alter table ado.tokens drop column attempt;
alter table ado.tokens drop constraint tokens_role_check;
alter table ado.tokens add constraint tokens_role_check check (role in ('viewer', 'operator', 'admin', 'worker'));
comment on column ado.tokens.role is 'viewer, operator, admin or worker; the tokens of jobs stand in ado.jobs.';
comment on column ado.tokens.task_id is 'Task of the one job a worker token may claim.';
comment on column ado.tokens.job is 'The one job a worker token may claim.';

-- A write of which the writer heard nothing is sent again; the key tells that it is the same one.
alter table ado.task_values add column idempotency_key text;
comment on column ado.task_values.idempotency_key is 'Key of the last write, if it had one: the same write again changes nothing.';

alter table ado.control add column losses integer not null default 3 check (losses >= 1);
comment on column ado.control.losses is 'Lost workers at which a job fails.';
comment on column ado.jobs.losses is 'Workers lost while holding the job; at ado.control.losses it fails.';
