-- A result's changes can be kept as a patch, for people to read.
-- oldest: 26

alter table ado.files drop constraint files_kind_check, add constraint files_kind_check
    check (kind in ('base', 'result', 'patch', 'checkpoint'));
comment on column ado.files.kind is 'base: what a task starts from; result: what an attempt brought back; patch: the changes of a result as text; checkpoint: where its conversation stood.';
