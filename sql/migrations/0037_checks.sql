-- oldest: 26
-- Commands of a task around its agent: the setup before it, and the checks that decide whether its work is done.

alter table ado.tasks add column checks json;
comment on column ado.tasks.checks is
    'Its setup and checks, as tasks.create takes them: setup, commands, tries, timeoutSeconds; null: none.';
