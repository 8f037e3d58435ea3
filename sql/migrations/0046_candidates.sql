-- The jobs of a task can have different agents, and a person picks one of their results. There is no line "oldest",
-- because an older release would run each job by the task's first agent.

alter table ado.tasks add column agents text[], add column picked_job integer;
comment on column ado.tasks.agent is 'The agent of its jobs, and a capability that their workers must offer; with several agents the first.';
comment on column ado.tasks.agents is 'The agents of its jobs in turn; null: all have the same agent.';
comment on column ado.tasks.picked_job is 'The job whose result a person has picked; null: none.';

create function ado.job_agent(agent text, agents text[], job integer) returns text
    language sql immutable as $$ select coalesce(agents[1 + job % cardinality(agents)], agent) $$;
comment on function ado.job_agent(text, text[], integer) is 'The agent of a job, by the columns agent and agents of its task.';

create or replace view ado.task_status as
select 'task-' || t.task_id as task, t.task_id, t.status, t.reason, t.message, t.agent, t.workers, t.priority, t.labels,
       left(t.prompt, 80) as prompt, n.queued, n.running, n.succeeded, n.failed, n.cancelled, l.last_seq,
       t.created_at, t.started_at, t.finished_at, t.cancel_requested_at, n.paused, t.agents, t.picked_job
from ado.tasks t
left join ado.task_logs l using (task_id)
cross join lateral (
    select count(*) filter (where j.status = 'queued') as queued,
           count(*) filter (where j.status = 'running') as running,
           count(*) filter (where j.status = 'paused') as paused,
           count(*) filter (where j.status = 'succeeded') as succeeded,
           count(*) filter (where j.status = 'failed') as failed,
           count(*) filter (where j.status = 'cancelled') as cancelled
    from ado.jobs j where j.task_id = t.task_id
) n;
comment on column ado.task_status.agents is 'The agents of its jobs in turn; null: all have the same agent.';
comment on column ado.task_status.picked_job is 'The job whose result a person has picked; null: none.';

create or replace view ado.job_status as
select 'task-' || j.task_id || '/' || j.job as job_id, j.task_id, j.job, j.status, j.attempt, j.worker_id, j.needs,
       j.cpu, j.memory, j.gpu, j.priority, j.losses, j.failures, j.exit_code, j.reason, j.message, j.stop_reason,
       j.stop_requested_at, j.lease_expires_at, j.run_after, j.started_at, j.finished_at, j.output_bytes,
       j.dropped_bytes, j.pause_requested_at,
       (select ado.job_agent(t.agent, t.agents, j.job) from ado.tasks t where t.task_id = j.task_id) as agent
from ado.jobs j;
comment on column ado.job_status.agent is 'The agent that runs it.';
