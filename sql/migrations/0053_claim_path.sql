-- oldest: 26
-- A claim pays only for what there is: users, failures of agents, and jobs that hold resources.

-- Few jobs ask for resources. What a worker's jobs hold is summed over those alone, so its other jobs are only counted,
-- in their index.
create index jobs_holding_idx on ado.jobs (worker_id)
    where status = 'running' and (cpu > 0 or memory > 0 or gpu > 0);

create or replace function ado.take_heads(offered text[], free_cpu double precision, free_memory numeric,
                                          free_gpu double precision, most bigint)
    returns table (task_id bigint, job integer, priority integer, cpu double precision, memory bigint,
                   gpu double precision)
    language plpgsql set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
declare
    probed text[];
    waiting bigint[] := '{}';  -- users with jobs that this worker could run
    limited bigint[] := '{}';
    rooms bigint[] := '{}';
    served bigint[] := '{}';  -- the user of each job that was taken
    share bigint;
    wanted bigint;
    taken bigint;
    head record;
begin
    -- Nearly always there are no users and no failures. Then this is all: the settings of further functions would cost
    -- more than what they read.
    if not exists (select from ado.users) and not exists (select from ado.agent_failures) then
        return query
        with recursive groups as (
            (select j.demand, j.user_id, j.needs, j.cpu, j.memory, j.gpu from ado.jobs j
             where j.status = 'queued' order by j.demand, j.user_id limit 1)
            union all
            select n.demand, n.user_id, n.needs, n.cpu, n.memory, n.gpu from groups g
            cross join lateral (
                select j.demand, j.user_id, j.needs, j.cpu, j.memory, j.gpu from ado.jobs j
                where j.status = 'queued' and (j.demand, j.user_id) > (g.demand, g.user_id)
                order by j.demand, j.user_id limit 1
            ) n
        )
        select h.task_id, h.job, h.priority, h.cpu, h.memory, h.gpu from groups g
        cross join lateral (
            select j.task_id, j.job, j.priority, j.cpu, j.memory, j.gpu from ado.jobs j
            where j.status = 'queued' and j.demand = g.demand and j.user_id = g.user_id and j.run_after <= now()
            order by j.priority desc, j.task_id, j.job limit most for update skip locked
        ) h
        where ado.lacks(g.needs, g.cpu, g.memory, g.gpu, offered, free_cpu, free_memory, free_gpu) = '{}'
        order by h.priority desc, h.task_id, h.job;
        return;
    end if;
    if exists (select from ado.agent_failures) and most > 0 then
        probed := ado.lock_probes(offered);
        return query  -- a statement of its own: it sees which probe the claim before has committed
        select j.task_id, j.job, j.priority, j.cpu, j.memory, j.gpu
        from ado.probe_jobs(offered, free_cpu, free_memory, free_gpu) p
        join ado.jobs j on j.task_id = p.task_id and j.job = p.job
        where p.agent = any(probed) and j.status = 'queued' limit 1 for update of j skip locked;
        if found then
            return;  -- one probe at a time
        end if;
    end if;
    if exists (select from ado.users) then
        waiting := array(select distinct g.user_id
                         from ado.queue_groups(offered, free_cpu, free_memory, free_gpu) g);
        limited := array(select u.user_id from ado.users u left join ado.role_limits r using (role)
                         where u.user_id = any(waiting)
                           and coalesce(u.running_limit, r.running_limit, u.cost_limit, r.cost_limit) is not null);
    end if;
    if cardinality(waiting) < 2 and cardinality(limited) = 0 then
        return query
        select q.task_id, q.job, q.priority, q.cpu, q.memory, q.gpu
        from (
            select h.* from ado.queue_groups(offered, free_cpu, free_memory, free_gpu) g
            cross join lateral (
                select j.task_id, j.job, j.priority, j.cpu, j.memory, j.gpu from ado.jobs j
                where j.status = 'queued' and j.demand = g.demand and j.user_id = g.user_id and j.run_after <= now()
                order by j.priority desc, j.task_id, j.job limit most for update skip locked
            ) h
        ) q
        order by q.priority desc, q.task_id, q.job;
        return;
    end if;
    if cardinality(limited) > 0 then
        -- Claims for one limited user follow one another: each counts what the one before it has committed. The locks
        -- are taken in one order, before those of jobs, so no two claims wait for each other.
        perform from ado.users u where u.user_id = any(limited) order by u.user_id for no key update;
        select array_agg(r.user_id), array_agg(r.room) into limited, rooms
        from ado.user_room r where r.user_id = any(limited);
    end if;
    share := greatest(1, most / cardinality(waiting));
    for head in
        select g.demand, g.user_id, best.priority
        from ado.queue_groups(offered, free_cpu, free_memory, free_gpu) g
        cross join lateral (
            select j.priority, j.task_id from ado.jobs j
            where j.status = 'queued' and j.demand = g.demand and j.user_id = g.user_id and j.run_after <= now()
            order by j.priority desc, j.task_id, j.job limit 1
        ) best
        left join ado.user_turns t on t.user_id = g.user_id
        order by best.priority desc, t.served_at nulls first, best.task_id
    loop
        wanted := least(share, rooms[array_position(limited, head.user_id)])
            - cardinality(array_positions(served, head.user_id));
        wanted := least(wanted, most - cardinality(served));
        continue when wanted < 1;
        return query
        select j.task_id, j.job, j.priority, j.cpu, j.memory, j.gpu from ado.jobs j
        where j.status = 'queued' and j.demand = head.demand and j.user_id = head.user_id
          and j.priority = head.priority and j.run_after <= now()
        order by j.priority desc, j.task_id, j.job limit wanted for update skip locked;
        get diagnostics taken = row_count;
        served := served || array_fill(head.user_id, array[taken::integer]);
    end loop;
    -- A turn that another claim is just noting is left to it: waiting would let claims follow one another.
    update ado.user_turns t set served_at = clock_timestamp()
    from (select u.user_id from ado.user_turns u where u.user_id = any(served)
          order by u.user_id for no key update skip locked) s
    where t.user_id = s.user_id;
end $$;
