-- What travels with a task: the commits it starts from, what came of it, and where a conversation stood. Lock order:
-- after ado.jobs and ado.tasks.

create table ado.files (
    file_id      text primary key,
    kind         text not null check (kind in ('base', 'result', 'checkpoint')),
    task_id      bigint,
    job          integer,
    attempt      integer,
    worker_id    text,
    size         bigint not null check (size >= 0),
    sha256       bytea not null check (octet_length(sha256) = 32),
    about        json,
    created_at   timestamptz not null default now(),
    completed_at timestamptz,
    check ((kind = 'base') = (job is null)),
    check ((job is null) = (attempt is null) and (job is null) = (worker_id is null)),
    check (job is null or task_id is not null)
);
create index files_task_idx on ado.files (task_id, job);
create index files_unfinished_idx on ado.files (created_at) where task_id is null or completed_at is null;

comment on table ado.files is 'Bundles of commits and checkpoints, each of one task; the bytes are in ado.file_chunks.';
comment on column ado.files.file_id is 'Random name that the sender chose: beginning again with it goes on where it was.';
comment on column ado.files.kind is 'base: what a task starts from; result: what an attempt brought back; checkpoint: where its conversation stood.';
comment on column ado.files.task_id is 'The task; null until tasks.create names the file.';
comment on column ado.files.job is 'The job that wrote it; null for what belongs to the whole task.';
comment on column ado.files.attempt is 'The attempt that wrote it: the fence of every write.';
comment on column ado.files.worker_id is 'The worker that wrote it.';
comment on column ado.files.size is 'Bytes.';
comment on column ado.files.sha256 is 'Digest of the bytes, checked when the file is completed.';
comment on column ado.files.about is 'What the sender says of it: commits, branch, what was left out.';
comment on column ado.files.created_at is 'When the sending began.';
comment on column ado.files.completed_at is 'When all of it was there and its digest was right; null: not yet.';

create table ado.file_chunks (
    file_id text not null references ado.files on delete cascade,
    number  integer not null check (number >= 0),
    data    bytea not null,
    primary key (file_id, number)
);
-- What is sent is compressed already.
alter table ado.file_chunks alter column data set storage external;

comment on table ado.file_chunks is 'The bytes of ado.files, in pieces of one size; the last may be shorter.';
comment on column ado.file_chunks.file_id is 'The file.';
comment on column ado.file_chunks.number is 'Which piece, from 0.';
comment on column ado.file_chunks.data is 'Its bytes.';

create view ado.stored_files as
select 'task-' || f.task_id as task, f.task_id, f.job, f.attempt, f.kind, f.size, f.created_at, f.completed_at
from ado.files f;
comment on view ado.stored_files is 'What is kept for tasks besides their logs, with its size in bytes.';
comment on column ado.stored_files.task is 'Public id of the task; null until one has taken the file.';
comment on column ado.stored_files.task_id is 'The task.';
comment on column ado.stored_files.job is 'The job that wrote it; null for what a task starts from.';
comment on column ado.stored_files.attempt is 'The attempt that wrote it.';
comment on column ado.stored_files.kind is 'base, result or checkpoint.';
comment on column ado.stored_files.size is 'Bytes.';
comment on column ado.stored_files.created_at is 'When the sending began.';
comment on column ado.stored_files.completed_at is 'When all of it was there; null: not yet.';

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select, insert, update, delete on ado.files, ado.file_chunks to ado_api;
    end if;
    if exists (select from pg_roles where rolname = 'ado_readonly') then
        grant select on ado.stored_files to ado_readonly;
    end if;
end $$;
