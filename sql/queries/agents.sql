-- name: unhealthy_agents :many
-- Agents whose jobs wait.
select u.agent, u.failures, u.reason, u.since, u.failed_at, u.probe_after, u.is_probing, u.job_id, u.why
from ado.unhealthy_agents u order by u.agent;

-- name: close_working_agents :many hints
-- Let the jobs of an agent go on as soon as its probe uses a tool: the probe itself may take hours.
with working as materialized (
    select f.agent from ado.agent_failures f join ado.unhealthy_agents u using (agent)
    where u.is_probing and exists (
        select from ado.events e
        where e.task_id = f.task_id and e.seq > f.seq and e.job = f.job and e.attempt = f.attempt and e.type = 'agent'
          and e.body ->> 'event' in ('tool_start', 'tool_end'))
    order by f.agent for update of f skip locked
)
delete from ado.agent_failures f using working w where f.agent = w.agent
returning f.agent, array['q:1'] as hints;

-- name: reset_agent :optional hints
-- Forget the failures of an agent, so that its jobs go on at once. No row: it has none.
with forgotten as (
    delete from ado.agent_failures f where f.agent = :agent::text and f.failures > 0 returning f.agent, f.failures
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, f.agent from forgotten f cross join ado.audit_actor(:actor::json) a
)
select f.failures, array['q:1'] as hints from forgotten f;

-- name: forget_agent_failures :many
-- Delete what says nothing any more: rows of agents that are well again, or that nobody has used for a day.
delete from ado.agent_failures f
where f.agent in (
    select k.agent from ado.agent_failures k where k.failures = 0 or k.failed_at < now() - interval '1 day'
    order by k.agent for update skip locked)
returning f.agent;
