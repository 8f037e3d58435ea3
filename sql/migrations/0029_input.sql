-- oldest: 8
-- What a person pipes into a job. A job has a row in ado.inputs as long as it takes input.

create table ado.inputs (
    task_id   bigint not null,
    job       integer not null,
    received  bigint not null default 0,
    ended     boolean not null default false,
    taken     bigint not null default 0,
    kept_from bigint not null default 0,
    lost_in   integer,
    primary key (task_id, job),
    foreign key (task_id, job) references ado.jobs on delete cascade,
    check (0 <= kept_from and kept_from <= received and 0 <= taken and taken <= received)
) with (fillfactor = 50);
comment on table ado.inputs is 'The stdin of jobs that have not ended; its bytes are in ado.input_chunks.';
comment on column ado.inputs.task_id is 'The task.';
comment on column ado.inputs.job is 'The job.';
comment on column ado.inputs.received is 'Bytes that have come.';
comment on column ado.inputs.ended is 'Whether nothing more comes.';
comment on column ado.inputs.taken is 'Bytes that the last attempt has taken.';
comment on column ado.inputs.kept_from is 'The first byte that is still there; above 0 no later attempt can begin anew.';
comment on column ado.inputs.lost_in is 'The attempt that needed bytes that are gone; null: none.';

create table ado.input_chunks (
    task_id   bigint not null,
    job       integer not null,
    begins_at bigint not null,
    data      bytea not null check (octet_length(data) > 0),
    primary key (task_id, job, begins_at),
    foreign key (task_id, job) references ado.inputs on delete cascade
);
-- Not compressed: the bytes come and go within seconds.
alter table ado.input_chunks alter column data set storage external;
comment on table ado.input_chunks is 'The bytes of ado.inputs in the pieces in which they came.';
comment on column ado.input_chunks.task_id is 'The task.';
comment on column ado.input_chunks.job is 'The job.';
comment on column ado.input_chunks.begins_at is 'How many bytes of the input come before this piece.';
comment on column ado.input_chunks.data is 'Its bytes.';

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select, insert, update, delete on ado.inputs, ado.input_chunks to ado_api;
    end if;
end $$;
