-- oldest: 8
-- The spawner of pods reads the queue as claims do: with settings that leave the planner no plan but the index.

create function ado.podless_jobs(offered text[], most integer)
    returns table (task_id bigint, job integer, needs text[], cpu double precision, memory bigint, gpu double precision)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
begin
    return query
    with recursive demands as (
        (select j.demand, j.needs, j.cpu, j.memory, j.gpu from ado.jobs j
         where j.status = 'queued' order by j.demand limit 1)
        union all
        select n.demand, n.needs, n.cpu, n.memory, n.gpu from demands d
        cross join lateral (
            select j.demand, j.needs, j.cpu, j.memory, j.gpu from ado.jobs j
            where j.status = 'queued' and j.demand > d.demand order by j.demand limit 1
        ) n
    )
    select q.task_id, q.job, d.needs, d.cpu, d.memory, d.gpu
    from demands d
    cross join lateral (
        select j.task_id, j.job, j.priority from ado.jobs j
        where j.status = 'queued' and j.demand = d.demand and j.run_after <= now()
          and not exists (select from ado.pods p
                          where p.task_id = j.task_id and p.job = j.job and p.state in ('wanted', 'placed'))
        order by j.priority desc, j.task_id, j.job limit most
    ) q
    where d.needs <@ offered
    order by q.priority desc, q.task_id, q.job limit most;
end $$;
comment on function ado.podless_jobs(text[], integer) is 'The best queued jobs that need no more than is offered and that have no pod.';
revoke all on function ado.podless_jobs(text[], integer) from public;

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant execute on function ado.podless_jobs(text[], integer) to ado_api;
    end if;
end $$;
