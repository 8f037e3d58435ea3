-- What agents have used, by attempt: a job's row tells only of the last one. Kept when the task is pruned, because it
-- is what a bill is compared with.

create table ado.attempt_usage (
    task_id            bigint not null,
    job                integer not null,
    attempt            integer not null,
    agent              text not null,
    at                 timestamptz not null,
    input_tokens       numeric,
    output_tokens      numeric,
    cache_read_tokens  numeric,
    cache_write_tokens numeric,
    cost_usd           numeric,
    primary key (task_id, job, attempt)
);
create index attempt_usage_at_idx on ado.attempt_usage (at);

comment on table ado.attempt_usage is 'Tokens and cost of each attempt, as its agent reported them at its end.';
comment on column ado.attempt_usage.task_id is 'The task.';
comment on column ado.attempt_usage.job is 'Index of the job.';
comment on column ado.attempt_usage.attempt is 'Number of the attempt.';
comment on column ado.attempt_usage.agent is 'The agent.';
comment on column ado.attempt_usage.at is 'When the attempt ended.';
comment on column ado.attempt_usage.input_tokens is 'Tokens the model read.';
comment on column ado.attempt_usage.output_tokens is 'Tokens the model wrote.';
comment on column ado.attempt_usage.cache_read_tokens is 'Tokens the model had read before.';
comment on column ado.attempt_usage.cache_write_tokens is 'Tokens kept for reading them again.';
comment on column ado.attempt_usage.cost_usd is 'US dollars, where the agent says them.';

create view ado.usage as
select 'task-' || u.task_id as task, u.task_id, u.agent, (u.at at time zone 'UTC')::date as day,
       count(*) as attempts, sum(u.input_tokens) as input_tokens, sum(u.output_tokens) as output_tokens,
       sum(u.cache_read_tokens) as cache_read_tokens, sum(u.cache_write_tokens) as cache_write_tokens,
       sum(u.cost_usd) as cost_usd
from ado.attempt_usage u
group by u.task_id, u.agent, (u.at at time zone 'UTC')::date;
comment on view ado.usage is 'What agents have used, by task, agent and day.';
comment on column ado.usage.task is 'Public id of the task.';
comment on column ado.usage.task_id is 'The task.';
comment on column ado.usage.agent is 'The agent.';
comment on column ado.usage.day is 'Day, in UTC, on which the attempts ended.';
comment on column ado.usage.attempts is 'How many attempts reported what they used.';
comment on column ado.usage.input_tokens is 'Tokens the model read.';
comment on column ado.usage.output_tokens is 'Tokens the model wrote.';
comment on column ado.usage.cache_read_tokens is 'Tokens the model had read before.';
comment on column ado.usage.cache_write_tokens is 'Tokens kept for reading them again.';
comment on column ado.usage.cost_usd is 'US dollars, where the agent says them.';

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant insert on ado.attempt_usage to ado_api;
    end if;
    if exists (select from pg_roles where rolname = 'ado_readonly') then
        grant select on ado.usage to ado_readonly;
    end if;
end $$;
