-- oldest: 8
-- An attempt writes with a credential of its own, and a worker's token serves one process. Both are columns without a
-- value where an earlier release made the row: such an attempt and such a token work as they did then.

alter table ado.jobs add column credential_digest bytea;
create index jobs_credential_idx on ado.jobs (credential_digest) where status = 'running' and credential_digest is not null;
comment on column ado.jobs.credential_digest is 'SHA-256 of the credential with which the last attempt writes; null: its worker''s token does.';

alter table ado.tokens add column single boolean;
alter table ado.tokens add column instance text;
alter table ado.tokens add column instance_at timestamptz;
comment on column ado.tokens.single is 'Whether a worker''s token serves one process and is revoked when that ends; false: a process may follow one that has ended; null: any process.';
comment on column ado.tokens.instance is 'The process that registered with this token last.';
comment on column ado.tokens.instance_at is 'When that process registered.';
