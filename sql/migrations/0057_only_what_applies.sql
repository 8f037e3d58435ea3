-- oldest: 26
-- A look at the queue and the end of a task pay only for what there is: users with limits, unhealthy agents, and targets of
-- notifications. A claim no longer pays for an agent that has failed but is well. And it is planned for ten jobs, not for a
-- thousand: those were joined with the whole table as long as it was small.

create or replace function ado.ready_demands(offered text[], most bigint, of_cpu double precision default null,
                                             of_memory numeric default null, of_gpu double precision default null,
                                             in_all bigint default null)
    returns table (needs text[], cpu double precision, memory bigint, gpu double precision, jobs bigint)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
begin
    if exists (select from ado.users) then
        return query
        select g.needs, g.cpu, g.memory, g.gpu, least(most, sum(least(ready.jobs, r.room)))::bigint
        from (
            select q.*, least(most, in_all / count(*) over ()) as share
            from ado.queue_groups(offered, of_cpu, of_memory, of_gpu, null, in_all / 10) q
        ) g
        cross join lateral (
            select count(*) as jobs from (
                select from ado.jobs j
                where j.status = 'queued' and j.run_after <= now()
                  and (j.needs[1:3] collate "C", j.demand, j.user_id) = (g.needs[1:3], g.demand, g.user_id)
                order by j.priority desc, j.task_id, j.job limit g.share  -- the order leaves no index but the queue's
            ) counted
        ) ready
        left join ado.user_room r on r.user_id = g.user_id
        where ready.jobs > 0 and coalesce(r.room, 1) > 0
        group by g.demand, g.needs, g.cpu, g.memory, g.gpu;
    else
        return query
        select g.needs, g.cpu, g.memory, g.gpu, least(most, sum(ready.jobs))::bigint
        from (
            select q.*, least(most, in_all / count(*) over ()) as share
            from ado.queue_groups(offered, of_cpu, of_memory, of_gpu, null, in_all / 10) q
        ) g
        cross join lateral (
            select count(*) as jobs from (
                select from ado.jobs j
                where j.status = 'queued' and j.run_after <= now()
                  and (j.needs[1:3] collate "C", j.demand, j.user_id) = (g.needs[1:3], g.demand, g.user_id)
                order by j.priority desc, j.task_id, j.job limit g.share  -- the order leaves no index but the queue's
            ) counted
        ) ready
        where ready.jobs > 0
        group by g.demand, g.needs, g.cpu, g.memory, g.gpu;
    end if;
    if exists (select from ado.unhealthy_agents) then  -- else its plan alone would cost more than the rest
        return query
        select p.needs, p.cpu, p.memory, p.gpu, 1::bigint from ado.probe_jobs(offered, of_cpu, of_memory, of_gpu) p;
    end if;
end $$;

create or replace function ado.take_heads(offered text[], free_cpu double precision, free_memory numeric,
                                          free_gpu double precision, most bigint)
    returns table (task_id bigint, job integer, priority integer, cpu double precision, memory bigint,
                   gpu double precision)
    language plpgsql rows 10 set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
declare
    has_users boolean := exists (select from ado.users);
    is_unhealthy boolean := exists (select from ado.unhealthy_agents);
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
    -- Nearly always there are no users and no unhealthy agents. Then this is all: the settings of further functions
    -- would cost more than what they read.
    if not has_users and not is_unhealthy then
        return query
        with recursive groups as (
            (select j.demand, j.user_id, j.needs, j.cpu, j.memory, j.gpu from ado.jobs j
             where j.status = 'queued' order by j.needs[1:3] collate "C", j.demand, j.user_id limit 1)
            union all
            select n.demand, n.user_id, n.needs, n.cpu, n.memory, n.gpu from groups g
            cross join lateral (
                select offered is null or g.needs[1:3] <@ offered as may_match
            ) is_next
            cross join lateral (
                select j.demand, j.user_id, j.needs, j.cpu, j.memory, j.gpu from ado.jobs j
                where j.status = 'queued' and (j.needs[1:3] collate "C", j.demand, j.user_id) > (
                    case when may_match then g.needs[1:3] else ado.next_needs(g.needs[1:3], offered) end,
                    case when may_match then g.demand else '' end, g.user_id)
                order by j.needs[1:3] collate "C", j.demand, j.user_id limit 1
            ) n
        )
        select h.task_id, h.job, h.priority, h.cpu, h.memory, h.gpu from groups g
        cross join lateral (
            select j.task_id, j.job, j.priority, j.cpu, j.memory, j.gpu from ado.jobs j
            where j.status = 'queued' and j.run_after <= now()
              and (j.needs[1:3] collate "C", j.demand, j.user_id) = (g.needs[1:3], g.demand, g.user_id)
            order by j.priority desc, j.task_id, j.job limit most for update skip locked
        ) h
        where ado.lacks(g.needs, g.cpu, g.memory, g.gpu, offered, free_cpu, free_memory, free_gpu) = '{}'
        order by h.priority desc, h.task_id, h.job;
        return;
    end if;
    if is_unhealthy and most > 0 then
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
    if has_users then
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
                where j.status = 'queued' and j.run_after <= now()
                  and (j.needs[1:3] collate "C", j.demand, j.user_id) = (g.needs[1:3], g.demand, g.user_id)
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
        select g.needs, g.demand, g.user_id, best.priority
        from ado.queue_groups(offered, free_cpu, free_memory, free_gpu) g
        cross join lateral (
            select j.priority, j.task_id from ado.jobs j
            where j.status = 'queued' and j.run_after <= now()
              and (j.needs[1:3] collate "C", j.demand, j.user_id) = (g.needs[1:3], g.demand, g.user_id)
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
        where j.status = 'queued' and j.run_after <= now()
          and (j.needs[1:3] collate "C", j.demand, j.user_id) = (head.needs[1:3], head.demand, head.user_id)
          and j.priority = head.priority
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

-- Without a target the end of a task is told nobody: the function that tells of it would be planned for each commit.
create or replace function ado.notify_of_end() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from ado.notification_targets) then
        perform ado.notify_targets(new, new.status, null);
    end if;
    return null;
end $$;
