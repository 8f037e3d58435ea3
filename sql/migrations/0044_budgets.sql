-- oldest: 26
-- What each job of a task may use, over all of its attempts.

alter table ado.tasks add column budget json;
comment on column ado.tasks.budget is
    'What each job may use, as tasks.create takes it: costUsd, tokens, turns, onBudget; null: no limit.';

alter table ado.attempt_usage add column turns numeric;
comment on column ado.attempt_usage.turns is
    'Runs of the agent from a prompt or message to its last word; only of tasks with a budget.';

create function ado.budget_spent(of_task bigint, of_job integer) returns json
    language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select json_build_object('costUsd', u.cost, 'tokens', u.tokens, 'turns', u.turns,
        'raised', json_build_object('costUsd', q.cost, 'tokens', q.tokens, 'turns', q.turns), 'stopped', coalesce(
            (select l.choice = 'stop' from ado.questions l
             where l.task_id = of_task and l.job = of_job and l.kind = 'budget' and l.state = 'answered'
             order by l.question_id desc limit 1), false))
    from (
        -- Agents report the amounts, and a job could report any: negative ones would raise its limit.
        select coalesce(sum(greatest(a.cost_usd, 0)), 0) as cost, coalesce(sum(greatest(a.turns, 0)), 0) as turns,
               coalesce(sum(greatest(a.input_tokens, 0) + greatest(a.output_tokens, 0)
                            + greatest(a.cache_write_tokens, 0)), 0) as tokens
        from ado.attempt_usage a where a.task_id = of_task and a.job = of_job
    ) u, (
        select count(*) filter (where q.key like 'budget:costUsd:%') as cost,
               count(*) filter (where q.key like 'budget:tokens:%') as tokens,
               count(*) filter (where q.key like 'budget:turns:%') as turns
        from ado.questions q
        where q.task_id = of_task and q.job = of_job and q.kind = 'budget' and q.state = 'answered'
          and q.choice = 'raise'
    ) q
$$;
comment on function ado.budget_spent(bigint, integer) is 'What the ended attempts of a job have used, how often a person has raised each limit of its budget, and whether the last such question was answered with stop.';
revoke all on function ado.budget_spent(bigint, integer) from public;
do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant execute on function ado.budget_spent(bigint, integer) to ado_api;
    end if;
end $$;
