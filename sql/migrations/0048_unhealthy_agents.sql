-- oldest: 26
-- A circuit breaker for each agent: when its attempts fail one after another before the agent has done anything, its
-- jobs wait. One of them at a time tries the agent, with longer and longer pauses. All go on once one succeeds.

alter table ado.control add column agent_breaker integer not null default 5 check (agent_breaker >= 0);
comment on column ado.control.agent_breaker is 'Failures of an agent in a row after which its jobs wait; 0: they never do.';

create table ado.agent_failures (
    agent       text primary key,
    failures    integer not null check (failures >= 0),
    reason      text not null,
    since       timestamptz not null default now(),
    failed_at   timestamptz not null default now(),
    task_id     bigint not null,
    job         integer not null,
    attempt     integer not null,
    seq         bigint not null default 0,
    probes      integer not null default 0,
    probe_after timestamptz not null
);
comment on table ado.agent_failures is 'Agents whose last attempts have failed before they did anything. A healthy agent has no row, or for a while one without failures.';
comment on column ado.agent_failures.agent is 'The agent''s name, never shell.';
comment on column ado.agent_failures.failures is 'Such failures since it last worked; at ado.control.agent_breaker its jobs wait.';
comment on column ado.agent_failures.reason is 'The reason of the last failure.';
comment on column ado.agent_failures.since is 'The first of these failures.';
comment on column ado.agent_failures.failed_at is 'The last of these failures.';
comment on column ado.agent_failures.task_id is 'Task of the last probe; before the first one, of the last failure.';
comment on column ado.agent_failures.job is 'The job''s index.';
comment on column ado.agent_failures.attempt is 'The job''s attempt. While it runs there is no other probe.';
comment on column ado.agent_failures.seq is 'The event with which the probe has started.';
comment on column ado.agent_failures.probes is 'Probes since the breaker opened.';
comment on column ado.agent_failures.probe_after is 'When the next job may try the agent.';

create function ado.probe_delay(probes integer) returns interval language sql immutable parallel safe
    return make_interval(secs => least(600, 15 * 2 ^ least(probes, 10)));
comment on function ado.probe_delay(integer) is 'The pause before the next job may try an unhealthy agent, after so many have: from 15 seconds up to ten minutes.';

create function ado.needs_one_of(needs text[], agents text[]) returns boolean language sql immutable parallel safe
    return needs && agents and not 'shell' = any(needs);
comment on function ado.needs_one_of(text[], text[]) is 'Whether a job with these needs waits while these agents are unhealthy. Jobs of shell never do.';

create view ado.unhealthy_agents as
select f.agent, f.failures, f.reason, f.since, f.failed_at, 'task-' || f.task_id || '/' || f.job as job_id, f.task_id,
       f.probes, f.probe_after, p.is_probing, f.probe_after <= now() and not p.is_probing as may_probe,
       format('agent %s is unhealthy: its last %s attempts failed before it did anything, the last one with %s. %s',
              f.agent, f.failures, f.reason,
              case when p.is_probing then 'A job tries it now'
                   when f.probe_after <= now() then 'The next job tries it'
                   else 'A job tries it at ' || f.probe_after end) as why
from ado.agent_failures f
join ado.control c on c.agent_breaker > 0 and f.failures >= c.agent_breaker
cross join lateral (
    select exists (select from ado.jobs j where j.task_id = f.task_id and j.job = f.job and j.attempt = f.attempt
                   and j.status = 'running') as is_probing
) p;
comment on view ado.unhealthy_agents is 'Agents whose jobs wait, because their attempts have failed one after another before the agent did anything.';
comment on column ado.unhealthy_agents.agent is 'The agent''s name.';
comment on column ado.unhealthy_agents.failures is 'Failures since it last worked.';
comment on column ado.unhealthy_agents.reason is 'The reason of the last failure.';
comment on column ado.unhealthy_agents.since is 'The first of these failures.';
comment on column ado.unhealthy_agents.failed_at is 'The last of these failures.';
comment on column ado.unhealthy_agents.job_id is 'The job that tries it or tried it last; before the first probe, the job that failed last.';
comment on column ado.unhealthy_agents.task_id is 'That job''s task.';
comment on column ado.unhealthy_agents.probes is 'How many jobs have tried it since it is unhealthy.';
comment on column ado.unhealthy_agents.probe_after is 'When the next job may try it.';
comment on column ado.unhealthy_agents.is_probing is 'Whether a job tries it now.';
comment on column ado.unhealthy_agents.may_probe is 'Whether a job may try it now.';
comment on column ado.unhealthy_agents.why is 'All of this in words, without the name of a task that others may not see.';

drop function ado.queue_groups(text[], double precision, numeric, double precision);
create function ado.queue_groups(offered text[], of_cpu double precision, of_memory numeric, of_gpu double precision,
                                 probed text default null)
    returns table (demand text, user_id bigint, needs text[], cpu double precision, memory bigint, gpu double precision)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
declare
    unhealthy text[] := array(select u.agent from ado.unhealthy_agents u);
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
    where ado.lacks(g.needs, g.cpu, g.memory, g.gpu, offered, of_cpu, of_memory, of_gpu) = '{}'
      and case when probed is null then not ado.needs_one_of(g.needs, unhealthy)
               else ado.needs_one_of(g.needs, array[probed]) end;
end $$;
comment on function ado.queue_groups(text[], double precision, numeric, double precision, text) is 'The distinct demands in the queue by user, of those that a worker which offers this can run (null: without a limit); one index probe for each. Those of unhealthy agents are left out, or with probed only those of this agent are there.';

create function ado.probe_jobs(offered text[], of_cpu double precision, of_memory numeric, of_gpu double precision)
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
             where j.status = 'queued' and j.demand = g.demand and j.user_id = g.user_id and j.run_after <= now()
               and j.task_id <> u.task_id
             order by j.priority desc, j.task_id, j.job limit 1)
            union all
            (select j.task_id, j.job, j.priority, true from ado.jobs j
             where j.status = 'queued' and j.demand = g.demand and j.user_id = g.user_id and j.run_after <= now()
               and j.task_id = u.task_id
             order by j.priority desc, j.job limit 1)
        ) h
        left join ado.user_room r on r.user_id = g.user_id
        where coalesce(r.room, 1) > 0
        order by h.has_tried, h.priority desc, h.task_id, h.job limit 1
    ) b
    where u.may_probe and (offered is null or u.agent = any(offered));
end $$;
comment on function ado.probe_jobs(text[], double precision, numeric, double precision) is 'For each unhealthy agent that may be tried now, the job to try it with, if a worker which offers this can run one (null: without a limit). A task that has failed with the agent itself may be why, so another one comes first.';

create function ado.lock_probes(agents text[]) returns text[]
    language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    return array(
        select u.agent from ado.unhealthy_agents u
        where u.may_probe and u.agent = any(agents)
          and pg_try_advisory_xact_lock(hashtextextended('ado.probe.' || u.agent, 0)));
end $$;
comment on function ado.lock_probes(text[]) is 'Which of these agents may be tried by this transaction: they are unhealthy, a probe is due, and no other claim is taking it. Ask again whether it is due, because a claim may just have taken it.';

create function ado.may_try(of_needs text[]) returns boolean
    language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    locked text[];
begin
    if not exists (select from ado.unhealthy_agents u where ado.needs_one_of(of_needs, array[u.agent])) then
        return true;
    end if;
    locked := ado.lock_probes(of_needs);
    return not exists (select from ado.unhealthy_agents u where ado.needs_one_of(of_needs, array[u.agent])
                       and not (u.may_probe and u.agent = any(locked)));
end $$;
comment on function ado.may_try(text[]) is 'Whether a job with these needs may start: its agent is healthy, or nobody else tries it and a probe is due. Then no other claim decides until this one has ended.';

create or replace function ado.ready_demands(offered text[], most bigint, of_cpu double precision default null,
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
    return query
    select p.needs, p.cpu, p.memory, p.gpu, 1::bigint from ado.probe_jobs(offered, of_cpu, of_memory, of_gpu) p;
end $$;
comment on function ado.ready_demands(text[], bigint, double precision, numeric, double precision) is 'What waits in the queue, by demand: of demands that a worker which offers this can run (null: without a limit), the jobs that can be claimed now and that their users'' limits allow, each counted up to a limit. Of an unhealthy agent the one job that may try it.';

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
            where j.status = 'queued' and j.demand = g.demand and j.user_id = g.user_id and j.run_after <= now()
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
comment on function ado.podless_jobs(text[], integer, text[]) is 'The best queued jobs that need no more than is offered and nothing that is closed, and that have no pod. Of an unhealthy agent the one job that may try it, if no pod waits to do so.';

create or replace view ado.obstacles as
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
left join lateral (
    select min(format('%s (next: see why its jobs failed, correct that where the workers run, then ado workers reset %s)',
                      h.why, h.agent)) as why
    from ado.unhealthy_agents h where ado.needs_one_of(j.needs, array[h.agent])
) a on true
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
        (3, a.why is not null, 'agent_unhealthy', a.why),
        (4, o.reason is not null, o.reason, format('its pod %s cannot run yet: %s', o.name, o.message)),
        (5, w.worker_id is null, 'no_live_worker', 'start a worker that offers ' || array_to_string(j.needs, ', ')),
        (6, 'capability' = any(l.ever), 'capability', 'missing: ' || array_to_string(array(
            select unnest(j.needs) except select unnest(w.capabilities) order by 1), ', ')),
        (7, w.state = 'suspect', 'suspect', 'its last heartbeat was at ' || w.last_heartbeat_at),
        (8, w.state = 'draining', 'draining', 'it takes no new jobs and will end'),
        (9, w.state = 'starting' and (o.reason is null or o.name <> w.worker_id), 'starting',
            'it has not registered yet'),
        (10, 'cpu' = any(l.ever), 'too_large',
            format('a larger worker is needed, cpu: %s asked, %s there', j.cpu, w.cpu)),
        (11, 'memory' = any(l.ever), 'too_large',
            format('a larger worker is needed, memory: %s asked, %s there', j.memory, w.memory)),
        (12, 'gpu' = any(l.ever), 'too_large',
            format('a larger worker is needed, gpu: %s asked, %s there', j.gpu, w.gpu)),
        (13, w.free_slots < 1, 'slots', 'all of its ' || w.slots || ' slots are taken'),
        (14, 'cpu' = any(l.now) and not 'cpu' = any(l.ever), 'resources',
            format('its running jobs hold what this one needs, cpu: %s asked, %s free', j.cpu, w.free_cpu)),
        (15, 'memory' = any(l.now) and not 'memory' = any(l.ever), 'resources',
            format('its running jobs hold what this one needs, memory: %s asked, %s free', j.memory, w.free_memory)),
        (16, 'gpu' = any(l.now) and not 'gpu' = any(l.ever), 'resources',
            format('its running jobs hold what this one needs, gpu: %s asked, %s free', j.gpu, w.free_gpu))
    ) r(place, holds, unmet, help)
    where r.holds
) n
where j.status = 'queued';

comment on column ado.why_pending.unmet is 'What keeps this worker from claiming the job, the most basic first: retry_delay, quota, agent_unhealthy, a reason of the job''s pod, no_live_worker, capability, suspect, draining, starting, too_large, slots, resources; null: nothing.';

revoke all on function ado.queue_groups(text[], double precision, numeric, double precision, text),
    ado.probe_jobs(text[], double precision, numeric, double precision), ado.lock_probes(text[]),
    ado.may_try(text[]) from public;
do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select, insert, update, delete on ado.agent_failures to ado_api;
        grant select on ado.unhealthy_agents to ado_api;
        grant execute on function ado.queue_groups(text[], double precision, numeric, double precision, text),
            ado.probe_jobs(text[], double precision, numeric, double precision), ado.lock_probes(text[]),
            ado.may_try(text[]) to ado_api;
    end if;
    if exists (select from pg_roles where rolname = 'ado_readonly') then
        grant select on ado.unhealthy_agents to ado_readonly;
    end if;
end $$;
