-- oldest: 8
-- How the queue is read. The planner's statistics are older than the queue: made while it was empty, they lead to plans
-- that read the whole table once for each distinct demand. Functions can carry settings, so these always use the index.

create function ado.ready_demands(offered text[], most bigint)
    returns table (needs text[], cpu double precision, memory bigint, gpu double precision, jobs bigint)
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
    select d.needs, d.cpu, d.memory, d.gpu, ready.jobs
    from demands d
    cross join lateral (
        select count(*) as jobs from (
            select from ado.jobs j where j.status = 'queued' and j.demand = d.demand and j.run_after <= now()
            order by j.priority desc, j.task_id, j.job limit most  -- the order leaves no index but the queue's
        ) counted
    ) ready
    where (offered is null or d.needs <@ offered) and ready.jobs > 0;
end $$;
comment on function ado.ready_demands(text[], bigint) is 'What waits in the queue, by demand: of demands that need no more than is offered (null: of all), the jobs that can be claimed now, each counted up to a limit.';

create function ado.take_heads(offered text[], free_cpu double precision, free_memory numeric, free_gpu double precision,
                               most bigint)
    returns table (task_id bigint, job integer, priority integer, cpu double precision, memory bigint,
                   gpu double precision)
    language plpgsql set search_path = pg_catalog, pg_temp
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
    select q.task_id, q.job, q.priority, q.cpu, q.memory, q.gpu
    from demands d
    cross join lateral (
        select j.task_id, j.job, j.priority, j.cpu, j.memory, j.gpu from ado.jobs j
        where j.status = 'queued' and j.demand = d.demand and j.run_after <= now()
        order by j.priority desc, j.task_id, j.job limit most for update skip locked
    ) q
    where d.needs <@ offered and d.cpu <= free_cpu and d.memory <= free_memory and d.gpu <= free_gpu;
end $$;
comment on function ado.take_heads(text[], double precision, numeric, double precision, bigint) is 'Locks the best queued jobs of every demand that a worker can meet, up to a limit for each; jobs that somebody else has locked are left out.';

revoke all on function ado.ready_demands(text[], bigint) from public;
revoke all on function ado.take_heads(text[], double precision, numeric, double precision, bigint) from public;

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant execute on function ado.ready_demands(text[], bigint) to ado_api;
        grant execute on function ado.take_heads(text[], double precision, numeric, double precision, bigint) to ado_api;
    end if;
end $$;
