-- oldest: 26
-- Permission requests of agents: the tool, what it is called with, and an answer that counts for the rest of a task.

alter table ado.questions
    add column tool text,
    add column input json,
    add column remembered boolean not null default false,
    add column worker_waits boolean not null default false;
create index questions_remembered_idx on ado.questions (task_id, tool) where remembered;
create index questions_awaited_idx on ado.questions (task_id, job) where worker_waits;
comment on column ado.questions.tool is 'The tool that an agent asks to use.';
comment on column ado.questions.input is 'What the tool would be called with; a text with a part of it if it is long.';
comment on column ado.questions.remembered is 'Whether the answer counts for each later request for this tool in the task.';
comment on column ado.questions.worker_waits is 'Whether the worker asked and has not acknowledged the end of the question.';
