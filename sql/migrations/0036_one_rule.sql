-- oldest: 26
-- One rule for what keeps a worker from a job: claims, spawners, views and the words about a waiting task all ask
-- ado.lacks. Its body is one expression, which Postgres puts into the statement that calls it.

create function ado.lacks(needs text[], cpu double precision, memory bigint, gpu double precision,
                          offered text[], of_cpu double precision, of_memory numeric, of_gpu double precision)
    returns text[] language sql immutable parallel safe
    return array_remove(array[case when not needs <@ offered then 'capability' end,
                              case when cpu > of_cpu then 'cpu' end,
                              case when memory > of_memory then 'memory' end,
                              case when gpu > of_gpu then 'gpu' end], null);
comment on function ado.lacks(text[], double precision, bigint, double precision, text[], double precision, numeric, double precision) is 'What a worker that offers this lacks for a job that needs that: capability, cpu, memory, gpu; none: it can run the job. What is offered without a limit is null.';

drop function ado.queue_groups(text[]);

create function ado.queue_groups(offered text[], of_cpu double precision, of_memory numeric, of_gpu double precision)
    returns table (demand text, user_id bigint, needs text[], cpu double precision, memory bigint, gpu double precision)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
begin
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
    select g.demand, g.user_id, g.needs, g.cpu, g.memory, g.gpu from groups g
    where ado.lacks(g.needs, g.cpu, g.memory, g.gpu, offered, of_cpu, of_memory, of_gpu) = '{}';
end $$;
comment on function ado.queue_groups(text[], double precision, numeric, double precision) is 'The distinct demands in the queue by user, of those that a worker which offers this can run (null: without a limit); one index probe for each.';

drop function ado.ready_demands(text[], bigint);
create function ado.ready_demands(offered text[], most bigint, of_cpu double precision default null,
                                  of_memory numeric default null, of_gpu double precision default null)
    returns table (needs text[], cpu double precision, memory bigint, gpu double precision, jobs bigint)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
begin
    return query
    select g.needs, g.cpu, g.memory, g.gpu, least(most, sum(least(ready.jobs, r.room)))::bigint
    from ado.queue_groups(offered, of_cpu, of_memory, of_gpu) g
    cross join lateral (
        select count(*) as jobs from (
            select from ado.jobs j
            where j.status = 'queued' and j.demand = g.demand and j.user_id = g.user_id and j.run_after <= now()
            order by j.priority desc, j.task_id, j.job limit most  -- the order leaves no index but the queue's
        ) counted
    ) ready
    left join ado.user_room r on r.user_id = g.user_id
    where ready.jobs > 0 and coalesce(r.room, 1) > 0
    group by g.demand, g.needs, g.cpu, g.memory, g.gpu;
end $$;
comment on function ado.ready_demands(text[], bigint, double precision, numeric, double precision) is 'What waits in the queue, by demand: of demands that a worker which offers this can run (null: without a limit), the jobs that can be claimed now and that their users'' limits allow, each counted up to a limit.';

create or replace function ado.take_heads(offered text[], free_cpu double precision, free_memory numeric,
                                          free_gpu double precision, most bigint)
    returns table (task_id bigint, job integer, priority integer, cpu double precision, memory bigint,
                   gpu double precision)
    language plpgsql set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
declare
    waiting bigint[] := '{}';  -- users with jobs that this worker could run
    limited bigint[] := '{}';
    rooms bigint[] := '{}';
    served bigint[] := '{}';  -- the user of each job that was taken
    share bigint;
    wanted bigint;
    taken bigint;
    head record;
begin
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

create or replace function ado.podless_jobs(offered text[], most integer)
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
            where j.status = 'queued' and j.demand = g.demand and j.user_id = g.user_id and j.run_after <= now()
              and not exists (select from ado.pods p
                              where p.task_id = j.task_id and p.job = j.job and p.state in ('wanted', 'placed'))
            order by j.priority desc, j.task_id, j.job limit most
        ) h
    ) q
    left join ado.user_room r on r.user_id = q.user_id
    where r.room is null or q.position <= r.room - (
        select count(*) from ado.pods p join ado.jobs j on j.task_id = p.task_id and j.job = p.job
        where p.state in ('wanted', 'placed') and j.status = 'queued' and j.user_id = q.user_id)
    order by q.priority desc, q.turn, q.task_id, q.job limit most;
end $$;

create view ado.obstacles as
with live as materialized (  -- counted once, however many jobs are asked for
    select * from ado.worker_status where state not in ('dead', 'stopped')
)
select j.task_id, j.job, w.worker_id, w.state, w.capabilities, n.unmet,
       coalesce(n.help, 'nothing: it will be claimed') as help
from ado.jobs j
left join lateral (
    select o.name, o.reason, o.message from ado.pods o
    where o.task_id = j.task_id and o.job = j.job and o.state in ('wanted', 'placed') and o.claimed_at is null limit 1
) o on true
left join ado.user_room u on u.user_id = j.user_id
left join live w on true
cross join lateral (
    select ado.lacks(j.needs, j.cpu, j.memory, j.gpu, w.capabilities, w.cpu, w.memory, w.gpu) as ever,
           ado.lacks(j.needs, j.cpu, j.memory, j.gpu, w.capabilities, w.free_cpu, w.free_memory, w.free_gpu) as now
    offset 0  -- asked once for each row, not once for each use
) l
cross join lateral (
    select (array_agg(r.unmet order by r.place))[1] as unmet, string_agg(r.help, '; ' order by r.place) as help
    from (values
        (1, j.run_after > now(), 'retry_delay', 'wait until ' || j.run_after),
        (2, u.room = 0, 'quota', u.waits_for),
        (3, o.reason is not null, o.reason, format('its pod %s cannot run yet: %s', o.name, o.message)),
        (4, w.worker_id is null, 'no_live_worker', 'start a worker that offers ' || array_to_string(j.needs, ', ')),
        (5, 'capability' = any(l.ever), 'capability', 'missing: ' || array_to_string(array(
            select unnest(j.needs) except select unnest(w.capabilities) order by 1), ', ')),
        (6, w.state = 'suspect', 'suspect', 'its last heartbeat was at ' || w.last_heartbeat_at),
        (7, w.state = 'draining', 'draining', 'it takes no new jobs and will end'),
        (8, w.state = 'starting' and (o.reason is null or o.name <> w.worker_id), 'starting',
            'it has not registered yet'),
        (9, 'cpu' = any(l.ever), 'too_large',
            format('a larger worker is needed, cpu: %s asked, %s there', j.cpu, w.cpu)),
        (10, 'memory' = any(l.ever), 'too_large',
            format('a larger worker is needed, memory: %s asked, %s there', j.memory, w.memory)),
        (11, 'gpu' = any(l.ever), 'too_large',
            format('a larger worker is needed, gpu: %s asked, %s there', j.gpu, w.gpu)),
        (12, w.free_slots < 1, 'slots', 'all of its ' || w.slots || ' slots are taken'),
        (13, 'cpu' = any(l.now) and not 'cpu' = any(l.ever), 'resources',
            format('its running jobs hold what this one needs, cpu: %s asked, %s free', j.cpu, w.free_cpu)),
        (14, 'memory' = any(l.now) and not 'memory' = any(l.ever), 'resources',
            format('its running jobs hold what this one needs, memory: %s asked, %s free', j.memory, w.free_memory)),
        (15, 'gpu' = any(l.now) and not 'gpu' = any(l.ever), 'resources',
            format('its running jobs hold what this one needs, gpu: %s asked, %s free', j.gpu, w.free_gpu))
    ) r(place, holds, unmet, help)
    where r.holds
) n
where j.status = 'queued';
comment on view ado.obstacles is 'Every queued job against every live worker: the requirement that is not met, and what would help. Ask for one job.';
comment on column ado.obstacles.task_id is 'Task of the job.';
comment on column ado.obstacles.job is 'Index of the job.';
comment on column ado.obstacles.worker_id is 'A live worker; null when there is none.';
comment on column ado.obstacles.state is 'The worker''s state.';
comment on column ado.obstacles.capabilities is 'What the worker offers.';
comment on column ado.obstacles.unmet is 'What keeps this worker from claiming the job, as in ado.why_pending; null: nothing.';
comment on column ado.obstacles.help is 'Every requirement that is not met, with what would help.';

create or replace view ado.why_pending as
with pending as (
    select j.task_id, j.job, row_number() over (order by j.task_id, j.job) as position
    from ado.jobs j where j.status = 'queued'
    order by j.task_id, j.job limit 100
)
select 'task-' || p.task_id || '/' || p.job as job_id, p.task_id, p.job, o.worker_id, o.state, o.unmet, o.help
from pending p cross join lateral (  -- one job after another, not all that are queued
    select * from ado.obstacles s where s.task_id = p.task_id and s.job = p.job offset 0
) o
order by p.position, o.worker_id;

revoke all on function ado.queue_groups(text[], double precision, numeric, double precision),
    ado.ready_demands(text[], bigint, double precision, numeric, double precision) from public;
do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select on ado.obstacles to ado_api;
        grant execute on function ado.queue_groups(text[], double precision, numeric, double precision),
            ado.ready_demands(text[], bigint, double precision, numeric, double precision) to ado_api;
    end if;
    if exists (select from pg_roles where rolname = 'ado_readonly') then
        grant select on ado.obstacles to ado_readonly;
    end if;
end $$;
