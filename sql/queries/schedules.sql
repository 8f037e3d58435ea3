-- name: add_schedule :optional
-- No row: its owner has as many schedules as one may have.
with added as (
    insert into ado.schedules (template_id, cron, timezone, variables, missed, overlap, created_by, after_at, next_at)
    select :template_id::bigint, :cron::text, :timezone::text, :variables::jsonb, :missed::text, :overlap::text,
           :created_by::text, :after_at::timestamptz, :next_at::timestamptz
    where (select count(*) from ado.schedules o where o.created_by = :created_by::text) < :most::integer
    returning schedule_id
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select c.*, 'schedule-' || a.schedule_id from added a cross join ado.audit_actor(:actor::json) c
)
select a.schedule_id from added a;

-- name: list_schedules :many
-- Those of one creator, or all of them, after a number; with ``schedule_id`` only this one.
select s.*, s.variables::text as variables_text, t.name as template, p.status as last_status, now() as now,
       ado.account_name(s.created_by) as owner_name
from ado.schedules s join ado.templates t using (template_id) left join ado.tasks p on p.task_id = s.last_task_id
where (:creator::text is null or s.created_by = :creator::text)
  and (:schedule_id::bigint is null or s.schedule_id = :schedule_id::bigint)
  and s.schedule_id > :after::bigint
order by s.schedule_id limit :most::integer;

-- name: pause_schedule :optional
-- No row: there is none of this number, or it is another creator's.
with paused as (
    update ado.schedules s set paused_at = coalesce(s.paused_at, now()), retry_at = null
    where s.schedule_id = :schedule_id::bigint and (:creator::text is null or s.created_by = :creator::text)
    returning s.schedule_id
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select c.*, 'schedule-' || p.schedule_id from paused p cross join ado.audit_actor(:actor::json) c
)
select p.schedule_id from paused p;

-- name: resume_schedule :optional
-- Run it again: a paused one from the next time on, and one that waits after a failure at once. No row: it has changed
-- since its next time ``from_at`` was read, or it is gone.
with resumed as (
    update ado.schedules s set
        after_at = case when s.paused_at is null then s.after_at else :after_at::timestamptz end,
        next_at = case when s.paused_at is null then s.next_at else :next_at::timestamptz end,
        failures = case when s.paused_at is null then s.failures else 0 end,
        problem = case when s.paused_at is null then s.problem end,
        retry_at = null, paused_at = null
    where s.schedule_id = :schedule_id::bigint and s.next_at = :from_at::timestamptz
    returning s.schedule_id
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select c.*, 'schedule-' || r.schedule_id from resumed r cross join ado.audit_actor(:actor::json) c
)
select r.schedule_id from resumed r;

-- name: remove_schedule :optional
-- No row: there is none of this number, or it is another creator's. Its tasks stay.
with removed as (
    delete from ado.schedules s
    where s.schedule_id = :schedule_id::bigint and (:creator::text is null or s.created_by = :creator::text)
    returning s.schedule_id
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select c.*, 'schedule-' || r.schedule_id from removed r cross join ado.audit_actor(:actor::json) c
)
select r.schedule_id from removed r;

-- name: due_schedules :many
-- The schedules whose time has come, with what decides about it. This locks nothing: the statements that follow are fenced
-- by ``next_at``. ``is_template_trusted`` is whether the schedule's owner may rely on the template's owner: an operator's
-- schedule runs no words that a developer can change.
select s.schedule_id, s.cron, s.timezone, s.variables::text as variables, s.missed, s.overlap, s.created_by, s.next_at,
       s.failures, s.last_task_id, p.status as last_status, t.name as template, t.task::text as task, now() as now,
       ado.account_name(s.created_by) as owner_name, ado.standing(s.created_by) as owner_role,
       t.saved_by is not distinct from s.created_by or coalesce(ado.standing(t.saved_by) in ('operator', 'admin'), false)
           as is_template_trusted
from ado.schedules s join ado.templates t using (template_id) left join ado.tasks p on p.task_id = s.last_task_id
where s.paused_at is null and s.next_at <= now() and coalesce(s.retry_at <= now(), true)
order by s.next_at, s.schedule_id limit :most::integer;

-- name: seconds_to_next_schedule :one
-- By the database's clock; null: there is none.
select extract(epoch from min(greatest(s.next_at, s.retry_at)) - clock_timestamp())::double precision as seconds
from ado.schedules s where s.paused_at is null;

-- name: pass_schedule :optional
-- Move on without a run. No row: the time ``due_at`` has run, or was passed, already.
update ado.schedules s set
    after_at = :after_at::timestamptz, next_at = :next_at::timestamptz, retry_at = null, failures = 0,
    problem = left(case when s.failures > 0 then s.problem || '; ' else '' end || :problem::text, 2000),
    skipped_times = s.skipped_times + :skipped::bigint, missed_times = s.missed_times + :missed::bigint
where s.schedule_id = :schedule_id::bigint and s.next_at = :due_at::timestamptz and s.paused_at is null
returning s.schedule_id;

-- name: schedule_failed :optional
-- The time ``due_at`` could not run: try again after 5 s, 10 s, and so on up to five minutes. No row: it has run.
update ado.schedules s set
    failures = s.failures + 1, problem = left(:problem::text, 2000),
    retry_at = now() + make_interval(secs => least(300, 5 * 2 ^ least(s.failures, 10)))
where s.schedule_id = :schedule_id::bigint and s.next_at = :due_at::timestamptz and s.paused_at is null
returning s.retry_at;

-- name: list_plans :many
-- What the next times of the schedules follow from.
select s.schedule_id, s.cron, s.timezone, s.after_at, s.next_at from ado.schedules s where s.paused_at is null;

-- name: replan_schedule :optional
-- Plan the next time anew. No row: the schedule has moved on.
update ado.schedules s set next_at = :next_at::timestamptz
where s.schedule_id = :schedule_id::bigint and s.next_at = :planned_at::timestamptz and s.after_at = :after_at::timestamptz
returning s.schedule_id;
