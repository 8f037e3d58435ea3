-- name: save_template :optional
-- Store a template, or with ``overwrite`` its new content. No row: there is one already that may not be overwritten, or
-- its owner has as many as one may have.
with saved as (
    insert into ado.templates as t (name, task, saved_by)
    select :template::text, :task::json, :saved_by::text
    where exists (select from ado.templates o where o.name = :template::text)
       or (select count(*) from ado.templates o where o.saved_by is not distinct from :saved_by::text) < :most::integer
    on conflict (name) do update set task = excluded.task, saved_by = excluded.saved_by, saved_at = now()
    where :overwrite::boolean and (:only::text is null or t.saved_by = :only::text)
    returning *
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select c.*, s.name from saved s cross join ado.audit_actor(:actor::json) c
)
select s.template_id, s.name, s.task::text as task, s.saved_by, s.created_at, s.saved_at,
       ado.account_name(s.saved_by) as owner_name, now() as now
from saved s;

-- name: find_template :optional
-- A template by its name; with ``only`` just that of one owner.
select t.template_id, t.name, t.task::text as task, t.saved_by, t.created_at, t.saved_at,
       ado.account_name(t.saved_by) as owner_name, now() as now
from ado.templates t where t.name = :template::text and (:only::text is null or t.saved_by = :only::text);

-- name: list_templates :many
-- The templates after a name, with the beginnings of their prompts.
select t.name, left(t.task ->> 'prompt', :prompt_chars::integer) as prompt, t.task ->> 'agent' as agent, t.saved_at,
       ado.account_name(t.saved_by) as owner_name
from ado.templates t
where (:only::text is null or t.saved_by = :only::text) and t.name > :after::text
order by t.name limit :most::integer;

-- name: remove_template :one
-- Remove a template that no schedule uses. ``schedules`` are those that use it; ``found`` is false for an unknown one, and
-- for that of another owner than ``only``.
with named as (
    select t.template_id, t.name from ado.templates t
    where t.name = :template::text and (:only::text is null or t.saved_by = :only::text)
), users as (
    select s.schedule_id from ado.schedules s join named using (template_id)
), removed as (
    delete from ado.templates t using named n
    where t.template_id = n.template_id and not exists (select from users)
    returning t.name
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select c.*, r.name from removed r cross join ado.audit_actor(:actor::json) c
)
select exists (select from named) as found, array(select u.schedule_id from users u order by 1 limit 20) as schedules;

-- name: template_source :optional
-- What a task was created with, besides its environment and files.
select json_build_object(
           'prompt', t.prompt, 'agent', t.agent, 'agents', t.agents, 'agentArgs', t.agent_args, 'workers', t.workers,
           'requires', t.requires, 'resources', json_build_object('cpu', t.cpu, 'memory', t.memory, 'gpu', t.gpu),
           'priority', t.priority, 'retries', t.retries, 'timeoutSeconds', t.timeout_seconds,
           'startWithinSeconds', t.start_within_seconds, 'labels', t.labels, 'workspace', t.workspace, 'pod', t.pod,
           'onFailure', t.on_failure, 'trustProject', t.trust_project, 'checks', t.checks, 'budget', t.budget
       )::text as task, coalesce(v.names, '{}') as env_names
from ado.tasks t left join ado.task_environments v using (task_id)
where t.task_id = :task_id::bigint;
