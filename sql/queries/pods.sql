-- name: open_pods :many
-- Every pod of a namespace that is not known to be gone, with its worker and its job.
select p.name, p.decision, p.task_id, p.job, p.capabilities, p.state, p.uid, p.reason, p.message, p.told,
       extract(epoch from now() - p.reason_since)::double precision as reason_seconds, p.claimed_at is not null as claimed,
       coalesce(extract(epoch from now() - p.starting_since), 0)::double precision as age_seconds,
       w.state as worker_state, w.capabilities as offered,
       extract(epoch from now() - w.idle_since)::double precision as idle_seconds,
       j.status as job_status, j.worker_id = p.name as is_holder,
       exists (select from ado.unhealthy_agents u
               where ado.needs_one_of(j.needs, array[u.agent]) and not u.may_probe) as waits_for_agent
from ado.pods p
left join ado.worker_status w on w.worker_id = p.name
left join ado.jobs j on j.task_id = p.task_id and j.job = p.job
where p.namespace = :namespace::text and p.state <> 'ended'
order by p.decision;

-- name: installation :one
select installation from ado.control;

-- name: podless_jobs :many
-- The best queued jobs that a pod could run, that have no pod, and that need nothing closed.
select task_id, job, needs, cpu, memory, gpu
from ado.podless_jobs(:capabilities::text[], :row_limit::integer, :closed::text[]);

-- name: request_pods :many
-- Decide: one pod for each job (null: a warm one), and a worker's row for each, so that it is seen to be starting. A
-- job that got a pod meanwhile gets no other.
with requests as (
    select w.*, nextval('ado.decisions') as decision
    from unnest(:task_ids::bigint[], :jobs::integer[], :cpus::double precision[], :memories::bigint[],
        :gpus::double precision[]) as w(task_id, job, cpu, memory, gpu)
), decided_pods as (
    insert into ado.pods (name, decision, namespace, task_id, job, capabilities)
    select 'ado-' || coalesce('task-' || w.task_id || '-' || w.job, 'warm') || '-d' || w.decision, w.decision,
           :namespace::text, w.task_id, w.job, coalesce(j.needs, :warm_capabilities::text[])
    from requests w left join ado.jobs j on j.task_id = w.task_id and j.job = w.job
    on conflict (task_id, job) where state in ('wanted', 'placed') and claimed_at is null do nothing
    returning name, decision
), starting_workers as (
    insert into ado.workers (worker_id, capabilities, cpu, memory, gpu, backend)
    select d.name, case when w.task_id is null then :offered::text[] else :offered::text[] || 'pod'::text end,
           w.cpu, w.memory, w.gpu, 'kubernetes'
    from decided_pods d join requests w using (decision)
)
select name from decided_pods order by decision;

-- name: take_pods :many
-- Take pods to create or remove. If this spawner dies, another one takes them after ``retry_seconds``. A pod that this
-- spawner still works on is left out: taking it would only delay its next try.
with due as (
    select p.name, p.task_id from ado.pods p
    where p.namespace = :namespace::text and p.state in ('wanted', 'ending') and p.act_after <= now()
      and p.name <> all(:busy::text[])
    order by p.decision limit :row_limit::integer for update skip locked
)
update ado.pods p set act_after = now() + make_interval(secs => :retry_seconds::double precision), tries = p.tries + 1
from due left join ado.workers w on w.worker_id = due.name left join ado.tasks t on t.task_id = due.task_id
where p.name = due.name
returning p.name, p.decision, p.task_id, p.job, p.capabilities, p.state, p.uid, p.reason, p.message, p.told, p.tries,
    extract(epoch from now() - p.reason_since)::double precision as reason_seconds, w.capabilities as offered,
    w.cpu, w.memory, w.gpu, t.pod::text as overrides,
    -- For two minutes: by then the cluster itself keeps new pods from a node that does not answer.
    (select array_agg(distinct l.node order by l.node) from ado.pods l
     where l.namespace = p.namespace and l.node <> '' and l.reason = 'node_lost'
       and l.reason_since > now() - interval '2 minutes') as avoid;

-- name: place_pod :optional
-- Pod and Secret exist. No row: it was given up meanwhile.
update ado.pods set state = 'placed', uid = :uid::text, starting_since = now(), tries = 0, reason = null,
    message = null, reason_since = null
where name = :name::text and state = 'wanted'
returning name;

-- name: record_pod_problem :none
-- Record what is wrong with a pod; ado.why_pending and the task's jobs show it.
update ado.pods p set reason = :reason::text, message = :message::text, node = coalesce(nullif(:node::text, ''), p.node),
    reason_since = case when p.reason = :reason::text then p.reason_since else now() end
where p.name = :name::text and p.state in ('wanted', 'placed')
  and (p.reason, p.message) is distinct from (:reason::text, :message::text);

-- name: lock_pod_problems :many
-- One pod of a task at a time logs what is wrong with all of them; the next one sees that the log has it.
select pg_advisory_xact_lock(hashtextextended('ado.told.' || p.task_id, 0)) from ado.pods p
where p.name = :name::text and p.task_id is not null;

-- name: log_pod_problem :optional hints
-- Record what is wrong with a pod, and write it to the log of its job, once for each change; with ``once`` only if no
-- other pod of the task has logged the same. The job is locked, so that nothing follows a task's last event. No row:
-- the log has it already. ``(select count(*) from locked_jobs) >= 0`` is always true: it has the job locked before the
-- pod, which is the lock order of all statements.
with locked_jobs as materialized (
    select j.task_id, j.job, j.attempt, j.status from ado.jobs j join ado.pods p using (task_id, job)
    where p.name = :name::text and j.status in ('queued', 'running') for update of j
), changed_pod as materialized (
    select p.name, :once::boolean and exists (
               select from ado.pods o where o.task_id = p.task_id and o.told = :reason::text and o.name <> p.name
           ) as is_logged
    from ado.pods p
    where p.name = :name::text and p.state in ('wanted', 'placed') and p.told is distinct from :reason::text
      and (select count(*) from locked_jobs) >= 0
    for update of p
), locked_job as (
    select j.* from locked_jobs j cross join changed_pod c where not c.is_logged
), locked_log as materialized (
    select l.task_id, l.last_seq from ado.task_logs l join locked_job j using (task_id) for update of l
), written_event as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select j.task_id, l.last_seq + 1, j.job,
           case when j.status = 'running' then j.attempt end, 'pod', now(), now(),
           json_strip_nulls(json_build_object('reason', :reason::text, 'message', :message::text,
                                              'hint', :hint::text, 'pod', :name::text))
    from locked_job j join locked_log l using (task_id)
), advanced_log as (
    update ado.task_logs l set last_seq = l.last_seq + 1 from locked_log g where l.task_id = g.task_id
    returning l.task_id, l.last_seq
), updated_pod as (
    update ado.pods p set told = :reason::text, reason = :reason::text, message = :message::text,
        node = coalesce(nullif(:node::text, ''), p.node),
        reason_since = case when p.reason = :reason::text then p.reason_since else now() end
    from changed_pod c where p.name = c.name
    returning p.name
)
select u.name, (select array_agg('e:' || a.task_id || ':' || a.last_seq) from advanced_log a) as hints from updated_pod u;

-- name: clear_pod_problem :none
-- Nothing is wrong with it any more; it counts as starting from now on.
update ado.pods set reason = null, message = null, reason_since = null, starting_since = now()
where name = :name::text and state = 'placed' and reason is not null;

-- name: close_pod :optional hints
-- Have it removed at once, with ``unclaimed`` unless it has claimed a job; its worker claims nothing more. No row: it
-- is being removed already, or has a job. The ``count(*)`` has the worker locked before the pod, which is the lock order.
with locked_worker as materialized (
    select w.worker_id from ado.workers w where w.worker_id = :name::text for update
), closed_pod as (
    update ado.pods set state = 'ending', act_after = now(), tries = 0
    where name = :name::text and state in ('wanted', 'placed') and (select count(*) from locked_worker) >= 0
      and (claimed_at is null or not :unclaimed::boolean)
    returning name
), drained_worker as (
    update ado.workers w set draining = true from closed_pod c where w.worker_id = c.name
)
select name, array['w:' || name] as hints from closed_pod;

-- name: fail_waiting_job :many hints
-- A job waited for a pod that will never run it. This counts as a loss: the job is queued again, the first time at
-- once, later after two seconds. At the limit in ado.control, or with ``for_good``, it fails. Fenced by the job's open
-- pod.
with locked_job as materialized (
    select j.task_id, j.job, j.attempt, j.losses + 1 as losses, j.losses + 1 >= c.losses or :for_good::boolean as fails
    from ado.control c cross join ado.jobs j join ado.pods p on p.task_id = j.task_id and p.job = j.job
    where p.name = :name::text and p.state in ('wanted', 'placed') and j.status = 'queued' for update of j
), locked_log as materialized (
    select l.task_id, l.last_seq from ado.task_logs l join locked_job j using (task_id)
    where j.fails for update of l
), failed_job as (
    update ado.jobs j set losses = k.losses, status = case when k.fails then 'failed' else 'queued' end,
        run_after = now() + make_interval(secs => case when k.losses >= 2 then 2 else 0 end), lease_expires_at = null,
        reason = case when k.fails then :reason::text end, message = case when k.fails then :message::text end,
        finished_at = case when k.fails then now() end, finished_seq = l.last_seq + 1
    from locked_job k left join locked_log l using (task_id)
    where j.task_id = k.task_id and j.job = k.job
), written_event as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select j.task_id, l.last_seq + 1, j.job, nullif(j.attempt, 0), 'finished', now(), now(),
           json_strip_nulls(json_build_object('outcome', 'failed', 'reason', :reason::text, 'message', :message::text))
    from locked_job j join locked_log l using (task_id)
), advanced_log as (
    update ado.task_logs l set last_seq = l.last_seq + 1 from locked_log g where l.task_id = g.task_id
    returning l.task_id, l.last_seq
), marked_task as (  -- if this spawner dies now, a monitor finds the task by this mark
    update ado.tasks t set failed_job = coalesce(t.failed_job, j.job)
    from locked_job j cross join advanced_log a where t.task_id = j.task_id and j.fails
)
select j.task_id, (select array_agg('e:' || a.task_id || ':' || a.last_seq) from advanced_log a) as hints
from locked_job j where j.fails;

-- name: end_pod :none
-- It is gone; its token is revoked. The ``count(*)`` has the worker locked before the pod, which is the lock order.
with locked_worker as materialized (
    select w.worker_id from ado.workers w where w.worker_id = :name::text for update
), ended_pod as (
    update ado.pods set state = 'ended', ended_at = now()
    where name = :name::text and state = 'ending' and (select count(*) from locked_worker) >= 0
    returning name
), unborn_worker as (
    delete from ado.workers w using ended_pod e where w.worker_id = e.name and w.last_heartbeat_at is null
), stopped_worker as (
    update ado.workers w set stopped_at = now() from ended_pod e
    where w.worker_id = e.name and w.stopped_at is null and w.last_heartbeat_at is not null
)
update ado.tokens t set revoked_at = now() from ended_pod e
where t.role = 'worker' and t.worker_id = e.name and t.revoked_at is null;

-- name: wake_pod :none
-- A pod is gone: let the first one that waits for the quota try again now.
update ado.pods set act_after = now()
where name = (select p.name from ado.pods p
              where p.namespace = :namespace::text and p.state = 'wanted' and p.reason = 'quota' and p.act_after > now()
              order by p.decision limit 1 for update skip locked);

-- name: postpone_pod :none
update ado.pods set act_after = now() + make_interval(secs => :seconds::double precision)
where name = :name::text and state in ('wanted', 'ending');

-- name: prune_pods :many
delete from ado.pods where state = 'ended' and ended_at < now() - make_interval(secs => :keep_seconds::double precision)
returning name;
