-- oldest: 26
-- Users of equal priority take turns, and nobody gets more than the limits allow. The queue is read by demand and user.

drop index ado.jobs_claim_idx;
create index jobs_claim_idx on ado.jobs (demand, user_id, priority desc, task_id, job) where status = 'queued';
create index jobs_user_idx on ado.jobs (user_id, status) where user_id <> 0 and status in ('queued', 'running');

create table ado.user_turns (
    user_id   bigint primary key,
    served_at timestamptz
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);
comment on table ado.user_turns is 'When a job of each user was last claimed while others waited: who waits longest is served first.';
comment on column ado.user_turns.user_id is 'The user; 0: all services together.';
comment on column ado.user_turns.served_at is 'When it was last served; null: not yet.';
insert into ado.user_turns (user_id) select 0 union all select user_id from ado.users;

create view ado.user_status as
select 'user-' || u.user_id as public_id, u.user_id, u.name, u.role, u.disabled_at,
       coalesce(u.running_limit, r.running_limit) as running_limit,
       (select count(*) from ado.jobs j
        where j.user_id = u.user_id and j.user_id <> 0 and j.status = 'running') as running,
       coalesce(u.queued_limit, r.queued_limit) as queued_limit,
       (select count(*) from ado.jobs j
        where j.user_id = u.user_id and j.user_id <> 0 and j.status = 'queued') as queued,
       coalesce(u.cost_limit, r.cost_limit) as cost_limit,
       (select coalesce(sum(a.cost_usd), 0) from ado.attempt_usage a
        where a.user_id = u.user_id and a.user_id <> 0 and a.at > now() - interval '24 hours') as cost
from ado.users u left join ado.role_limits r using (role);
comment on view ado.user_status is 'Users with what they have in the queue, and the limits that hold for them.';
comment on column ado.user_status.public_id is 'Public id of the user.';
comment on column ado.user_status.user_id is 'The number behind it.';
comment on column ado.user_status.name is 'Name of the user.';
comment on column ado.user_status.role is 'The most that tokens of the user may do.';
comment on column ado.user_status.disabled_at is 'Since when it may no longer call.';
comment on column ado.user_status.running_limit is 'Most jobs that run at once; null: no limit.';
comment on column ado.user_status.running is 'How many of its jobs run.';
comment on column ado.user_status.queued_limit is 'Most jobs that wait at once; null: no limit.';
comment on column ado.user_status.queued is 'How many of its jobs wait.';
comment on column ado.user_status.cost_limit is 'US dollars within 24 hours after which no further job starts; null: no limit.';
comment on column ado.user_status.cost is 'US dollars of its attempts that ended within 24 hours.';

-- One row for each user whose claims are limited, so that without limits there is nothing to count.
create view ado.user_room as
select s.user_id, case when s.cost_limit is not null and s.cost >= s.cost_limit then 0
                       when s.running_limit is null then 2147483647
                       else greatest(0, s.running_limit - s.running) end as room,
       case when s.running_limit is not null and s.running >= s.running_limit
            then format('%s has %s jobs running, the limit is %s', s.name, s.running, s.running_limit)
            when s.cost_limit is not null and s.cost >= s.cost_limit
            then format('%s has used %s US dollars within 24 hours, the limit is %s', s.name, s.cost, s.cost_limit)
            end as waits_for
from ado.user_status s where s.running_limit is not null or s.cost_limit is not null;
comment on view ado.user_room is 'Users whose running jobs or cost are limited, and how many more of their jobs may start.';
comment on column ado.user_room.user_id is 'The user.';
comment on column ado.user_room.room is 'How many more jobs may start now.';
comment on column ado.user_room.waits_for is 'Why none may; null: some may.';

create function ado.queue_groups(offered text[])
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
    where offered is null or g.needs <@ offered;
end $$;
comment on function ado.queue_groups(text[]) is 'The distinct demands in the queue by user, of those that need no more than is offered (null: of all); one index probe for each.';

create or replace function ado.ready_demands(offered text[], most bigint)
    returns table (needs text[], cpu double precision, memory bigint, gpu double precision, jobs bigint)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
begin
    return query
    select g.needs, g.cpu, g.memory, g.gpu, least(most, sum(least(ready.jobs, r.room)))::bigint
    from ado.queue_groups(offered) g
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
comment on function ado.ready_demands(text[], bigint) is 'What waits in the queue, by demand: of demands that need no more than is offered (null: of all), the jobs that can be claimed now and that their users'' limits allow, each counted up to a limit.';

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
        waiting := array(select distinct g.user_id from ado.queue_groups(offered) g
                         where g.cpu <= free_cpu and g.memory <= free_memory and g.gpu <= free_gpu);
        limited := array(select u.user_id from ado.users u left join ado.role_limits r using (role)
                         where u.user_id = any(waiting)
                           and coalesce(u.running_limit, r.running_limit, u.cost_limit, r.cost_limit) is not null);
    end if;
    if cardinality(waiting) < 2 and cardinality(limited) = 0 then
        return query
        select q.task_id, q.job, q.priority, q.cpu, q.memory, q.gpu
        from (
            select h.* from ado.queue_groups(offered) g
            cross join lateral (
                select j.task_id, j.job, j.priority, j.cpu, j.memory, j.gpu from ado.jobs j
                where j.status = 'queued' and j.demand = g.demand and j.user_id = g.user_id and j.run_after <= now()
                order by j.priority desc, j.task_id, j.job limit most for update skip locked
            ) h
            where g.cpu <= free_cpu and g.memory <= free_memory and g.gpu <= free_gpu
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
        from ado.queue_groups(offered) g
        cross join lateral (
            select j.priority, j.task_id from ado.jobs j
            where j.status = 'queued' and j.demand = g.demand and j.user_id = g.user_id and j.run_after <= now()
            order by j.priority desc, j.task_id, j.job limit 1
        ) best
        left join ado.user_turns t on t.user_id = g.user_id
        where g.cpu <= free_cpu and g.memory <= free_memory and g.gpu <= free_gpu
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
comment on function ado.take_heads(text[], double precision, numeric, double precision, bigint) is 'Locks the queued jobs that a worker should get next, in this order, up to a limit (for each demand, where one user alone waits); jobs that somebody else has locked are left out. Among equal priorities the user who was served longest ago comes first.';

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
        from ado.queue_groups(offered) g
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
comment on function ado.podless_jobs(text[], integer) is 'The best queued jobs that need no more than is offered, that have no pod and that their users'' limits allow, the users in turn.';

create function ado.may_start(of_user bigint) returns boolean
    language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from ado.user_room r where r.user_id = of_user) then
        return true;
    end if;
    perform from ado.users u where u.user_id = of_user for no key update;
    return (select r.room > 0 from ado.user_room r where r.user_id = of_user);
end $$;
comment on function ado.may_start(bigint) is 'Whether the user''s limits allow one more job to start; for a limited user no other claim decides until this one has ended.';

create function ado.queue_room(of_user bigint) returns bigint
    language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from ado.user_status s where s.user_id = of_user and s.queued_limit is not null) then
        return null;
    end if;
    perform from ado.users u where u.user_id = of_user for no key update;
    return (select greatest(0, s.queued_limit - s.queued) from ado.user_status s where s.user_id = of_user);
end $$;
comment on function ado.queue_room(bigint) is 'How many more jobs of a user may wait; null: no limit. For a limited user nobody else queues jobs until this transaction has ended.';

create or replace view ado.why_pending as
with pending as (
    select j.*, row_number() over (order by j.task_id, j.job) as position
    from ado.jobs j where j.status = 'queued'
    order by j.task_id, j.job limit 100
)
select 'task-' || p.task_id || '/' || p.job as job_id, p.task_id, p.job, w.worker_id, w.state,
       n.unmet, coalesce(n.help, 'nothing: it will be claimed') as help
from pending p
left join lateral (
    select o.name, o.reason, o.message from ado.pods o
    where o.task_id = p.task_id and o.job = p.job and o.state in ('wanted', 'placed') and o.claimed_at is null limit 1
) o on true
left join ado.user_room u on u.user_id = p.user_id
left join ado.worker_status w on w.state not in ('dead', 'stopped')
cross join lateral (
    select (array_agg(r.unmet order by r.place))[1] as unmet, string_agg(r.help, '; ' order by r.place) as help
    from (values
        (1, p.run_after > now(), 'retry_delay', 'wait until ' || p.run_after),
        (1.2, u.room = 0, 'quota', u.waits_for),
        (1.5, o.reason is not null, o.reason, format('its pod %s cannot run yet: %s', o.name, o.message)),
        (2, w.worker_id is null, 'no_live_worker', 'start a worker that offers ' || array_to_string(p.needs, ', ')),
        (3, not p.needs <@ w.capabilities, 'capability', 'missing: ' || array_to_string(array(
            select unnest(p.needs) except select unnest(w.capabilities) order by 1), ', ')),
        (4, w.state = 'suspect', 'suspect', 'its last heartbeat was at ' || w.last_heartbeat_at),
        (5, w.state = 'draining', 'draining', 'it takes no new jobs and will end'),
        (6, w.state = 'starting', 'starting', 'it has not registered yet'),
        (7, p.cpu > w.cpu, 'too_large', format('a larger worker is needed, cpu: %s asked, %s there', p.cpu, w.cpu)),
        (8, p.memory > w.memory, 'too_large',
            format('a larger worker is needed, memory: %s asked, %s there', p.memory, w.memory)),
        (9, p.gpu > w.gpu, 'too_large', format('a larger worker is needed, gpu: %s asked, %s there', p.gpu, w.gpu)),
        (10, w.free_slots < 1, 'slots', 'all of its ' || w.slots || ' slots are taken'),
        (11, p.cpu <= w.cpu and p.cpu > w.free_cpu, 'resources',
            format('its running jobs hold what this one needs, cpu: %s asked, %s free', p.cpu, w.free_cpu)),
        (12, p.memory <= w.memory and p.memory > w.free_memory, 'resources',
            format('its running jobs hold what this one needs, memory: %s asked, %s free', p.memory, w.free_memory)),
        (13, p.gpu <= w.gpu and p.gpu > w.free_gpu, 'resources',
            format('its running jobs hold what this one needs, gpu: %s asked, %s free', p.gpu, w.free_gpu))
    ) r(place, holds, unmet, help)
    where r.holds
) n
order by p.position, w.worker_id;
comment on column ado.why_pending.unmet is 'What keeps this worker from claiming the job, the most basic first: retry_delay, quota, a reason of the job''s pod, no_live_worker, capability, suspect, draining, starting, too_large, slots, resources; null: nothing.';

revoke all on function ado.queue_groups(text[]), ado.may_start(bigint), ado.queue_room(bigint) from public;
do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select, insert, update on ado.user_turns to ado_api;
        grant select on ado.user_status, ado.user_room to ado_api;
        grant execute on function ado.queue_groups(text[]), ado.may_start(bigint), ado.queue_room(bigint) to ado_api;
    end if;
    if exists (select from pg_roles where rolname = 'ado_readonly') then
        grant select on ado.user_status, ado.user_room to ado_readonly;
    end if;
end $$;
