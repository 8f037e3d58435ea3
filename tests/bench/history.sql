-- Fills a database at the baseline (migration 11) with what years leave behind; `tests.bench.history` sets the sizes
-- and runs the migrations after it. Ids 1 to `bench.ended` are ended tasks of the last thirty days, then come
-- `bench.queued` queued ones.

set local synchronous_commit = off;
create temporary table made on commit drop as
select n as task_id, n > current_setting('bench.ended')::bigint as is_queued,
       'tool:' || n % current_setting('bench.demands')::bigint as tool,
       case when n > current_setting('bench.ended')::bigint then 'queued' when n % 50 = 0 then 'cancelled'
            when n % 12 = 0 then 'failed' else 'succeeded' end as status,
       now() - interval '1 hour' - interval '29 days'
           * greatest(0, 1 - n / current_setting('bench.ended')::double precision) as at
from generate_series(1, current_setting('bench.ended')::bigint + current_setting('bench.queued')::bigint) n;
analyze made;

insert into ado.tasks (task_id, prompt, agent, workers, requires, labels, status, reason, failed_job, created_at, started_at,
    finished_at)
select m.task_id, 'make test ' || m.task_id, case when m.task_id % 5 = 0 then 'claude-code' else 'shell' end, 1,
       case when m.task_id % 3 = 0 or m.is_queued then array[m.tool] else '{}' end,
       case when m.task_id < 4 then '{"rare": "yes"}' when m.task_id % 10 = 9 then '{}'
            else jsonb_build_object('team', 't' || m.task_id % 7, 'run', 'r' || m.task_id % current_setting('bench.labels')::bigint)
       end,
       m.status, case m.status when 'failed' then 'agent_error' when 'cancelled' then 'cancelled' end,
       case m.status when 'failed' then 0 end, m.at, case when not m.is_queued then m.at + interval '5 s' end,
       case when not m.is_queued then m.at + interval '9 s' end
from made m order by m.task_id;

insert into ado.jobs (task_id, job, status, attempt, finished_attempt, finished_seq, worker_id, last_batch, run_after,
    started_at, finished_at, exit_code, reason, priority, demand, needs, cpu, memory, gpu, output_bytes)
select m.task_id, 0, m.status, case when m.is_queued then 0 else 1 end, case when m.is_queued then 0 else 1 end,
       case when not m.is_queued then 5 end, case when not m.is_queued then 'gone-' || m.task_id % 1000 end, 1, m.at,
       case when not m.is_queued then m.at + interval '5 s' end, case when not m.is_queued then m.at + interval '9 s' end,
       case m.status when 'succeeded' then 0 when 'failed' then 1 end,
       case m.status when 'failed' then 'agent_error' when 'cancelled' then 'cancelled' end, 0,
       md5(n.needs::text || '0 0 0'), n.needs, 0, 0, 0, 60
from made m cross join lateral (select array['shell', m.tool] as needs) n order by m.task_id;

insert into ado.task_logs (task_id, last_seq) select task_id, case when is_queued then 1 else 6 end from made order by 1;

select setval('ado.tasks_task_id_seq', (select max(task_id) from made));
select ado.extend_log((select max(task_id) from made));
insert into ado.events (task_id, seq, job, attempt, type, stream, at, stored_at, data, body)
select m.task_id, e.seq, case when e.seq between 2 and 5 then 0 end, case when e.seq between 2 and 5 then 1 end,
       coalesce(e.type, m.status), case when e.type = 'output' then 'stdout' end, m.at + interval '1 s' * e.seq,
       m.at + interval '1.002 s' * e.seq,
       case when e.type = 'output' then convert_to('a line of output of task ' || m.task_id || E'\n', 'UTF8') end,
       case e.type when 'created' then '{"by": "flat"}'::json when 'started' then '{"workerId": "gone"}'
            when 'finished' then json_build_object('outcome', m.status) when null then '{}' end
from made m
cross join (values (1, 'created'), (2, 'started'), (3, 'output'), (4, 'output'), (5, 'finished'), (6, null)) e(seq, type)
where not m.is_queued or e.seq = 1
order by m.task_id, e.seq;
