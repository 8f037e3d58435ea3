-- name: watched_tasks :many
-- The tasks that a viewer of the whole system sees: the newest open tasks, every task from a little before the newest
-- one it knows (null: the newest there is), and the tasks it knows as open. With ``creator`` only that creator's. Each is
-- looked up by itself (``offset 0``): how many follow ``newest`` is not known to a planner, which would read all tasks.
with wanted as (
    (select o.task_id from ado.tasks o where o.status in ('queued', 'running', 'paused')
       and (:creator::text is null or o.created_by = :creator::text)
     order by o.task_id desc limit :row_limit::integer)
    union
    (select n.task_id from ado.tasks n
     where n.task_id > coalesce(:newest::bigint, (select max(m.task_id) from ado.tasks m)) - :late_ids::integer)
    union
    select k.task_id from unnest(:known::bigint[]) as k(task_id)
)
select w.task_id, f.status, f.last_seq
from wanted w
cross join lateral (
    select t.status, l.last_seq from ado.tasks t join ado.task_logs l using (task_id)
    where t.task_id = w.task_id and (:creator::text is null or t.created_by = :creator::text) offset 0
) f
order by w.task_id;

-- name: list_tasks :many
-- Newest first; the cursor is the last id of the previous page. A prompt is cut, and the agent's arguments are left
-- out. A page ends early when its prompts and jobs grow large; one task always fits. Without a filter ``statuses`` has
-- all of them: each status is read by its index, in order; so is each status of each creator, or else of each agent. A search looks at a limited number of prompts and bytes, so
-- its page may have fewer tasks, or none, although more follow. ``next`` is where the next page begins, null after the
-- last one. A page without tasks is one row that has only ``next``.
with bounds as materialized (
    select least(coalesce(:before::bigint, 9223372036854775807),
               case when :until::timestamptz is not null then coalesce((
                   select max(f.task_id) + 1 from (
                       select c.task_id from ado.tasks c where c.created_at < :until::timestamptz
                       order by c.created_at desc limit 10000
                   ) f), 0) end) as before,
           case when :since::timestamptz is null then 0 else coalesce((
               -- Ids grow with time, except for concurrent transactions and after the clock was set back.
               select min(f.task_id) from (
                   select c.task_id from ado.tasks c where c.created_at >= :since::timestamptz
                   order by c.created_at limit 10000
               ) f), 9223372036854775807) end as oldest
), candidates as materialized (
    select distinct c.task_id from bounds b  -- a task may have several of the agents
    cross join unnest(:statuses::text[]) as s(status)
    cross join unnest(coalesce(:creators::text[], '{null}')) as r(creator)
    cross join unnest(case when :creators::text[] is null then coalesce(:agents::text[], '{null}') else '{null}' end)
        as a(agent)
    cross join lateral (
        -- By status alone, by creator, by agent, or by agent where there are several: each by an index that has its
        -- rows in order, with the filters, so that it can end early. A row comparison makes the planner use that index;
        -- with an equality it could choose the key, and read many rows in vain if the status is rare.
        (select t.task_id from ado.tasks t
        where :creators::text[] is null and :agents::text[] is null
          and (t.status, t.task_id) < (s.status, b.before) and (t.status, t.task_id) >= (s.status, b.oldest)
          and (:since::timestamptz is null or t.created_at >= :since::timestamptz)
          and (:until::timestamptz is null or t.created_at < :until::timestamptz)
          and (:labels::jsonb = '{}' or t.labels @> :labels::jsonb)
          and (cardinality(:label_names::text[]) = 0 or (t.labels <> '{}' and t.labels ?& :label_names::text[]))
        order by t.status desc, t.task_id desc limit :scan_limit::integer + 1)
        union all
        (select t.task_id from ado.tasks t
        where :creators::text[] is not null and t.created_by = r.creator
          and (:agents::text[] is null or t.agent = any(:agents::text[]) or t.agents && :agents::text[])
          and (t.status, t.task_id) < (s.status, b.before) and (t.status, t.task_id) >= (s.status, b.oldest)
          and (:since::timestamptz is null or t.created_at >= :since::timestamptz)
          and (:until::timestamptz is null or t.created_at < :until::timestamptz)
          and (:labels::jsonb = '{}' or t.labels @> :labels::jsonb)
          and (cardinality(:label_names::text[]) = 0 or (t.labels <> '{}' and t.labels ?& :label_names::text[]))
        order by t.status desc, t.task_id desc limit :scan_limit::integer + 1)
        union all
        (select t.task_id from ado.tasks t
        where :creators::text[] is null and :agents::text[] is not null and t.agent = a.agent
          and (t.status, t.task_id) < (s.status, b.before) and (t.status, t.task_id) >= (s.status, b.oldest)
          and (:since::timestamptz is null or t.created_at >= :since::timestamptz)
          and (:until::timestamptz is null or t.created_at < :until::timestamptz)
          and (:labels::jsonb = '{}' or t.labels @> :labels::jsonb)
          and (cardinality(:label_names::text[]) = 0 or (t.labels <> '{}' and t.labels ?& :label_names::text[]))
        order by t.status desc, t.task_id desc limit :scan_limit::integer + 1)
        union all
        (select t.task_id from ado.tasks t
        where :creators::text[] is null and :agents::text[] is not null
          and t.agents is not null and a.agent = any(t.agents)
          and (t.status, t.task_id) < (s.status, b.before) and (t.status, t.task_id) >= (s.status, b.oldest)
          and (:since::timestamptz is null or t.created_at >= :since::timestamptz)
          and (:until::timestamptz is null or t.created_at < :until::timestamptz)
          and (:labels::jsonb = '{}' or t.labels @> :labels::jsonb)
          and (cardinality(:label_names::text[]) = 0 or (t.labels <> '{}' and t.labels ?& :label_names::text[]))
        order by t.status desc, t.task_id desc limit :scan_limit::integer + 1)
    ) c
    order by c.task_id desc limit :scan_limit::integer + 1
), measured as (
    select t.*, row_number() over newest as position, count(*) over () as candidates,
           case when :search::text is null then 0
                else sum(octet_length(t.prompt)) over newest end as prompt_bytes
    from candidates join ado.tasks t using (task_id)
    window newest as (order by t.task_id desc)
), scanned as (
    select * from measured m
    where m.position <= :scan_limit::integer and (m.position = 1 or m.prompt_bytes <= :scan_bytes::bigint)
), scan as (
    select case when count(*) < coalesce(max(n.candidates), 0) then min(n.task_id) end as next from scanned n
), found as (
    select n.*, row_number() over newest as place,
           sum(least(octet_length(n.prompt), 4 * :prompt_chars::integer) + pg_column_size(n.labels)
               + 250 * n.workers) over newest as bytes
    from (
        select * from scanned n
        where :search::text is null or position(lower(:search::text) in lower(n.prompt)) > 0
           or exists (select from jsonb_each_text(n.labels) v
                      where position(lower(:search::text) in lower(v.key || '=' || v.value)) > 0)
        order by n.task_id desc limit :row_limit::integer + 1
    ) n
    window newest as (order by n.task_id desc)
), page as (
    select * from found f
    where f.place <= :row_limit::integer and (f.place = 1 or f.bytes <= :byte_limit::bigint)
), edge as (
    select case when (select count(*) from page) < (select count(*) from found) then (select min(task_id) from page)
                else s.next end as next
    from scan s
)
select e.next, f.task_id, f.status, f.reason, f.message, f.failed_job,
       left(f.prompt, :prompt_chars::integer) as prompt,
       octet_length(f.prompt) > octet_length(left(f.prompt, :prompt_chars::integer)) as prompt_cut, f.agent,
       null::json as agent_args, f.workers, f.requires, f.cpu, f.memory, f.gpu, f.priority, f.retries,
       f.timeout_seconds, f.start_within_seconds, f.start_by, f.labels, f.on_failure, f.version, f.created_at,
       f.started_at, f.finished_at, f.cancel_requested_at, f.agents, f.picked_job, l.last_seq,
       ado.account_name(f.created_by) as creator_name, f.trust_project, f.checks, f.budget,
       coalesce(v.names, '{}') as env_names, w.waits_for
from edge e
left join (page f join ado.task_logs l using (task_id) left join ado.task_environments v using (task_id)) on true
left join lateral (
    select array_agg('task-' || o.after_task_id order by o.after_task_id) as waits_for from (
        select d.after_task_id from ado.dependencies d
        where d.task_id = f.task_id and d.outcome is null and f.status in ('queued', 'paused')
        order by d.after_task_id limit 10
    ) o
) w on true
order by f.task_id desc;
