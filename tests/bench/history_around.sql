-- What else a history leaves, once the schema is of today: usage, audit, files, messages, questions, ended workers and
-- pods. Users, live workers, running and paused tasks are the same in every size.

set local synchronous_commit = off;
create temporary view ended as
select t.task_id, t.created_at, t.finished_at from ado.tasks t where t.task_id <= current_setting('bench.ended')::bigint;

insert into ado.users (user_id, name, role)
select n, 'person-' || n, 'developer' from generate_series(1, 10) n;
select setval('ado.users_user_id_seq', 10);
update ado.tasks t set created_by = 'user-' || (t.task_id / 10 % 9 + 1)
where t.task_id % 10 = 0 and t.task_id <= current_setting('bench.ended')::bigint;
update ado.tasks t set created_by = 'user-10' where t.task_id < 4;
update ado.jobs j set user_id = ('x' || substring(j.demand for 4))::bit(16)::integer % 11
where j.status = 'queued';
insert into ado.user_turns (user_id) select user_id from ado.users on conflict do nothing;

insert into ado.attempt_usage (task_id, job, attempt, agent, at, input_tokens, output_tokens, cost_usd)
select e.task_id, 0, 1, 'claude-code', e.finished_at, 1000, 100, 0.01 from ended e where e.task_id % 5 = 0;
insert into ado.audit (at, user_id, token_id, procedure, target)
select e.created_at, 'user-' || (e.task_id / 10 % 9 + 1), 'token', 'tasks.create', 'task-' || e.task_id from ended e;
insert into ado.files (file_id, kind, task_id, job, attempt, worker_id, size, sha256, about, created_at, completed_at)
select 'file-' || e.task_id, 'result', e.task_id, 0, 1, 'gone', 10, sha256('x'), '{}', e.finished_at, e.finished_at
from ended e where e.task_id % 10 = 0;
insert into ado.messages (task_id, job, text, created_at)
select e.task_id, 0, 'go on', e.created_at from ended e where e.task_id % 100 = 0;
insert into ado.message_jobs (message_id, task_id, job, sent_in, delivered_in, delivered_at)
select g.message_id, g.task_id, 0, 1, 1, now() from ado.messages g;
insert into ado.questions (task_id, job, attempt, key, kind, text, options, state, choice, created_at, answered_at)
select e.task_id, 0, 1, 'k', 'permission', 'may I?', '["yes", "no"]', 'answered', 'yes', e.created_at, e.created_at
from ended e where e.task_id % 100 = 1;
insert into ado.task_environments (task_id, names, forgotten_at)
select e.task_id, '{KEY}', now() from ended e where e.task_id % 20 = 0;
insert into ado.task_values (task_id, key, value, version)
select e.task_id, 'k', '1', 1 from ended e where e.task_id % 20 = 0;
insert into ado.notification_targets (url, format, events, mine, sealed)
values ('https://example.invalid', 'json', '{failed}', false, 'x');
insert into ado.notifications (target_id, task_id, event, body, state, tries, created_at, ended_at)
select 1, e.task_id, 'failed', '{}', 'delivered', 1, e.finished_at, now() from ended e where e.task_id % 120 = 0;

-- A day of workers, which each ran one job, and pods.
insert into ado.workers (worker_id, instance, session, capabilities, last_heartbeat_at, started_at, stopped_at)
select 'gone-' || e.task_id, 'i', 's', '{shell}', g.at, g.at, g.at
from ended e cross join (select now() - interval '1 hour' as at) g where e.task_id % 100 = 0;
insert into ado.pods (name, decision, namespace, task_id, job, state, claimed_at, ended_at)
select 'gone-' || e.task_id, e.task_id, 'ado', e.task_id, 0, 'ended', now(), now() from ended e where e.task_id % 1000 = 0;

-- What is the same in every size.
insert into ado.metric_totals (measure, agent, kind, reason, bucket, count, amount)
select 'finished', a, k, '', 0, 1000, 0 from unnest('{shell,claude-code}'::text[]) a, unnest('{succeeded,failed,cancelled}'::text[]) k;
insert into ado.samples (at, queued, running, paused, workers, succeeded, failed, cancelled, cost_usd)
select date_trunc('minute', now()) - n * interval '1 minute', 1, 1, 0, 1, n, 0, 0, 0 from generate_series(1, 20160) n;
insert into ado.workers (worker_id, instance, session, capabilities, cpu, memory, slots, last_heartbeat_at, started_at)
select 'live-' || n, 'i', 's', '{shell,tool:1}', 8, 2::bigint ^ 34, 10, now() + interval '10 years', now() from generate_series(1, 20) n;

create temporary table live on commit drop as
select n, nextval('ado.tasks_task_id_seq') as task_id, case when n <= 20 then 'running' else 'paused' end as status
from generate_series(1, 25) n;
insert into ado.tasks (task_id, prompt, agent, workers, status, started_at)
select l.task_id, 'make', 'shell', 1, l.status, now() from live l;
insert into ado.jobs (task_id, job, status, attempt, worker_id, lease_expires_at, started_at, pause_requested_at,
    priority, demand, needs, cpu, memory, gpu)
select l.task_id, 0, l.status, 1, 'live-' || l.n, case l.status when 'running' then now() + interval '10 years' end, now(),
       case l.status when 'paused' then now() end, 0, md5('{shell}0 0 0'), '{shell}', 0, 0, 0
from live l;
insert into ado.task_logs (task_id, last_seq) select l.task_id, 52 from live l;
insert into ado.events (task_id, seq, job, attempt, type, stream, at, stored_at, data, body)
select l.task_id, s, case when s > 1 then 0 end, case when s > 1 then 1 end,
       case s when 1 then 'created' when 2 then 'started' else 'output' end, case when s > 2 then 'stdout' end,
       now(), now(), case when s > 2 then convert_to('line ' || s || E'\n', 'UTF8') end,
       case s when 1 then '{"by": "flat"}'::json when 2 then '{"workerId": "live"}' end
from live l cross join generate_series(1, 52) s;
