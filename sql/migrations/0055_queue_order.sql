-- oldest: 26
-- The queue is read in the order of what its jobs need. A worker that offers little hops over all that needs more, so a
-- claim does not grow with the number of different requirements. Existing rows are indexed here, some seconds for a
-- million tasks, while changes of jobs wait.

-- Three names, because an entry of an index has at most 2,700 bytes and a job may need a hundred names.
drop index ado.jobs_claim_idx;
create index jobs_claim_idx on ado.jobs ((needs[1:3]) collate "C", demand, user_id, priority desc, task_id, job)
    where status = 'queued';

create function ado.next_needs(needs text[], offered text[]) returns text[]
    language plpgsql immutable parallel safe as $$
declare
    place integer := 1;
    nearest text;
begin
    while needs[place] = any(offered) loop
        place := place + 1;
    end loop;
    while place > 0 loop
        select min(o collate "C") into nearest from unnest(offered) o where o > needs[place] collate "C";
        if nearest is not null then
            return array_append(needs[:place - 1], nearest);
        end if;
        place := place - 1;
    end loop;
    return null;
end $$;
comment on function ado.next_needs(text[], text[]) is 'For needs that are not all offered: the first list of names behind them with which those can begin that are offered; null: there is none.';

drop function ado.queue_groups(text[], double precision, numeric, double precision, text);
create function ado.queue_groups(offered text[], of_cpu double precision, of_memory numeric, of_gpu double precision,
                                 probed text default null, most_groups bigint default null)
    returns table (demand text, user_id bigint, needs text[], cpu double precision, memory bigint, gpu double precision)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
declare
    unhealthy text[] := array(select u.agent from ado.unhealthy_agents u);
begin
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
    select g.demand, g.user_id, g.needs, g.cpu, g.memory, g.gpu from groups g
    where ado.lacks(g.needs, g.cpu, g.memory, g.gpu, offered, of_cpu, of_memory, of_gpu) = '{}'
      and case when probed is null then not ado.needs_one_of(g.needs, unhealthy)
               else ado.needs_one_of(g.needs, array[probed]) end
    limit most_groups;
end $$;
comment on function ado.queue_groups(text[], double precision, numeric, double precision, text, bigint) is 'The distinct demands in the queue by user, of those that a worker which offers this can run (null: without a limit); one index probe for each, and for each that is passed over together with those that begin alike. Those of unhealthy agents are left out, or with probed only those of this agent are there. The first most_groups of them; null: all.';

create or replace function ado.probe_jobs(offered text[], of_cpu double precision, of_memory numeric,
                                          of_gpu double precision)
    returns table (agent text, task_id bigint, job integer, needs text[], cpu double precision, memory bigint,
                   gpu double precision)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
    return query
    select u.agent, b.task_id, b.job, b.needs, b.cpu, b.memory, b.gpu from ado.unhealthy_agents u
    cross join lateral (
        select h.*, g.needs, g.cpu, g.memory, g.gpu
        from ado.queue_groups(offered, of_cpu, of_memory, of_gpu, u.agent) g
        cross join lateral (
            (select j.task_id, j.job, j.priority, false as has_tried from ado.jobs j
             where j.status = 'queued' and j.run_after <= now()
               and (j.needs[1:3] collate "C", j.demand, j.user_id) = (g.needs[1:3], g.demand, g.user_id)
               and j.task_id <> u.task_id
             order by j.priority desc, j.task_id, j.job limit 1)
            union all
            (select j.task_id, j.job, j.priority, true from ado.jobs j
             where j.status = 'queued' and j.run_after <= now()
               and (j.needs[1:3] collate "C", j.demand, j.user_id) = (g.needs[1:3], g.demand, g.user_id)
               and j.task_id = u.task_id
             order by j.priority desc, j.job limit 1)
        ) h
        left join ado.user_room r on r.user_id = g.user_id
        where coalesce(r.room, 1) > 0
        order by h.has_tried, h.priority desc, h.task_id, h.job limit 1
    ) b
    where u.may_probe and (offered is null or u.agent = any(offered));
end $$;

drop function ado.ready_demands(text[], bigint, double precision, numeric, double precision);
create function ado.ready_demands(offered text[], most bigint, of_cpu double precision default null,
                                  of_memory numeric default null, of_gpu double precision default null,
                                  in_all bigint default null)
    returns table (needs text[], cpu double precision, memory bigint, gpu double precision, jobs bigint)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
begin
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
    return query
    select p.needs, p.cpu, p.memory, p.gpu, 1::bigint from ado.probe_jobs(offered, of_cpu, of_memory, of_gpu) p;
end $$;
comment on function ado.ready_demands(text[], bigint, double precision, numeric, double precision, bigint) is 'What waits in the queue, by demand: of demands that a worker which offers this can run (null: without a limit), the jobs that can be claimed now and that their users'' limits allow, each counted up to a limit. Of an unhealthy agent the one job that may try it. With in_all no more jobs than that are counted, as many of each demand and user, of which a tenth as many are looked at.';

create or replace function ado.podless_jobs(offered text[], most integer, closed text[] default '{}')
    returns table (task_id bigint, job integer, needs text[], cpu double precision, memory bigint, gpu double precision)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
begin
    return query
    select q.task_id, q.job, q.needs, q.cpu, q.memory, q.gpu
    from (
        select h.task_id, h.job, h.priority, g.needs, g.cpu, g.memory, g.gpu, g.user_id,
               row_number() over (partition by g.user_id, h.priority order by h.task_id, h.job) as turn,
               row_number() over (partition by g.user_id order by h.priority desc, h.task_id, h.job) as position
        from ado.queue_groups(offered, null, null, null) g
        cross join lateral (
            select j.task_id, j.job, j.priority from ado.jobs j
            where j.status = 'queued' and j.run_after <= now()
              and (j.needs[1:3] collate "C", j.demand, j.user_id) = (g.needs[1:3], g.demand, g.user_id)
              and not exists (select from ado.pods p
                              where p.task_id = j.task_id and p.job = j.job and p.state in ('wanted', 'placed'))
            order by j.priority desc, j.task_id, j.job limit most
        ) h
        where not g.needs && closed
    ) q
    left join ado.user_room r on r.user_id = q.user_id
    where r.room is null or q.position <= r.room - (
        select count(*) from ado.pods p join ado.jobs j on j.task_id = p.task_id and j.job = p.job
        where p.state in ('wanted', 'placed') and j.status = 'queued' and j.user_id = q.user_id)
    order by q.priority desc, q.turn, q.task_id, q.job limit most;
    return query
    select b.task_id, b.job, b.needs, b.cpu, b.memory, b.gpu from ado.probe_jobs(offered, null, null, null) b
    where not b.needs && closed and not exists (
        select from ado.pods p join ado.jobs j on j.task_id = p.task_id and j.job = p.job
        where p.state in ('wanted', 'placed') and p.claimed_at is null and j.status = 'queued'
          and ado.needs_one_of(j.needs, array[b.agent]));
end $$;

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

-- A function, because for a part of a deep queue the planner would rather read the table, whose first rows have ended.
create function ado.open_jobs(most bigint) returns table (queued bigint, running bigint, paused bigint)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
    return query
    select (select count(*) from (select from ado.jobs j where j.status = 'queued' limit most) q),
           (select count(*) from ado.jobs j where j.status = 'running'),
           (select count(*) from (select from ado.jobs j where j.status = 'paused' limit most) p);
end $$;
comment on function ado.open_jobs(bigint) is 'Open jobs by status. Queued and paused ones are counted up to a limit, in their indexes.';

revoke all on function ado.next_needs(text[], text[]), ado.open_jobs(bigint),
    ado.queue_groups(text[], double precision, numeric, double precision, text, bigint),
    ado.ready_demands(text[], bigint, double precision, numeric, double precision, bigint) from public;
do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant execute on function ado.next_needs(text[], text[]), ado.open_jobs(bigint),
            ado.queue_groups(text[], double precision, numeric, double precision, text, bigint),
            ado.ready_demands(text[], bigint, double precision, numeric, double precision, bigint) to ado_api;
    end if;
end $$;
