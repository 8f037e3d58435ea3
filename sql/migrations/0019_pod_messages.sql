-- What keeps a pod from running is shown with the cluster's own words, and the age of a pod begins when it is placed.

alter table ado.pods add column message text, add column told text, add column node text,
    add column starting_since timestamptz, add column tries integer not null default 0;
comment on column ado.pods.reason is 'What is wrong with it: one word of a closed list.';
comment on column ado.pods.message is 'What is wrong with it, in the cluster''s own words.';
comment on column ado.pods.told is 'The reason that the log of its job has been told last.';
comment on column ado.pods.node is 'Its node, once that does not answer.';
comment on column ado.pods.starting_since is 'Since when its worker should register: it was placed, or what kept it waiting was over.';
comment on column ado.pods.tries is 'How often a spawner has taken it since it was last in order; the wait for the next try grows with it.';
update ado.pods set starting_since = now() where state = 'placed';
create index pods_told_idx on ado.pods (task_id, told) where told is not null;
create index pods_lost_idx on ado.pods (namespace, reason_since) where reason = 'node_lost';

create or replace view ado.pod_status as
select p.name as pod, p.namespace, 'task-' || p.task_id || '/' || p.job as job_id, p.task_id, p.job, p.state, p.reason,
       p.reason_since, w.state as worker_state, p.claimed_at, p.requested_at, p.ended_at, p.message, p.node
from ado.pods p left join ado.worker_status w on w.worker_id = p.name;
comment on column ado.pod_status.reason is 'What is wrong with it.';
comment on column ado.pod_status.message is 'What is wrong with it, in the cluster''s own words.';
comment on column ado.pod_status.node is 'Its node, once that does not answer.';

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
left join ado.worker_status w on w.state not in ('dead', 'stopped')
cross join lateral (
    select (array_agg(r.unmet order by r.place))[1] as unmet, string_agg(r.help, '; ' order by r.place) as help
    from (values
        (1, p.run_after > now(), 'retry_delay', 'wait until ' || p.run_after),
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
comment on column ado.why_pending.unmet is 'What keeps this worker from claiming the job, the most basic first: retry_delay, a reason of the job''s pod, no_live_worker, capability, suspect, draining, starting, too_large, slots, resources; null: nothing.';
