-- oldest: 23
-- Whether an agent may follow the settings that a repository brings along for it.

alter table ado.tasks add column trust_project boolean not null default false;
comment on column ado.tasks.trust_project is
    'Whether the repository''s own agent settings (hooks, MCP servers, plugins) count; false: they do nothing.';
