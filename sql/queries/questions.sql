-- name: answer_question :optional hints
-- Store the first answer. No row: the question is no longer open, its time is over, or its attempt does not run.
with locked_job as materialized (
    select j.task_id, j.job, j.attempt from ado.jobs j
    join ado.questions q using (task_id, job)
    where q.question_id = :question_id::bigint and j.status = 'running' and j.attempt = q.attempt for update of j
), locked_log as materialized (
    select l.task_id, l.last_seq from ado.task_logs l join locked_job using (task_id) for update of l
), answered as (
    update ado.questions q set state = 'answered', choice = :choice::text, answer = :answer::text,
        answered_by = :actor::json ->> 'name', answered_at = now()
    from locked_log l
    where q.question_id = :question_id::bigint and q.state = 'open' and (q.expires_at is null or q.expires_at > now())
    returning q.*, l.last_seq + 1 as seq
), written_event as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select a.task_id, a.seq, a.job, a.attempt, 'answer', now(), now(),
           json_strip_nulls(json_build_object('questionId', 'question-' || a.question_id, 'choice', a.choice,
                                              'text', a.answer, 'by', a.answered_by))
    from answered a
), advanced_log as (
    update ado.task_logs l set last_seq = a.seq from answered a where l.task_id = a.task_id
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select c.*, 'task-' || a.task_id from answered a cross join ado.audit_actor(:actor::json) c
)
select a.*, array['e:' || a.task_id || ':' || a.seq, 'a:' || a.question_id] as hints from answered a;

-- name: ask_question :optional hints
-- Store a question of a running attempt, once for each key. No row: it is stored already, the attempt does not run, or
-- its job has asked as many questions as it may.
with held as materialized (
    select j.task_id, j.job, j.attempt from ado.jobs j
    where j.task_id = :task_id::bigint and j.job = :job::integer and j.attempt = :attempt::integer
      and j.status = 'running' for update of j
), locked_log as materialized (
    select l.task_id, l.last_seq from ado.task_logs l join held using (task_id) for update of l
), asked as (
    insert into ado.questions (task_id, job, attempt, key, kind, text, options, default_answer, expires_at)
    select h.task_id, h.job, h.attempt, :key::text, :kind::text, :text::text, :options::json, :default_answer::text,
           now() + make_interval(secs => :timeout_seconds::double precision)
    from held h join locked_log using (task_id)
    where (select count(*) from ado.questions q where q.task_id = h.task_id and q.job = h.job) < :job_limit::integer
    on conflict (task_id, job, attempt, key) do nothing
    returning *
), numbered as (
    select a.*, l.last_seq + 1 as seq from asked a join locked_log l using (task_id)
), written_event as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select n.task_id, n.seq, n.job, n.attempt, 'question', now(), now(),
           json_strip_nulls(json_build_object('questionId', 'question-' || n.question_id, 'kind', n.kind, 'text', n.text,
               'options', n.options, 'default', n.default_answer, 'expiresAt', n.expires_at))
    from numbered n
), advanced_log as (
    update ado.task_logs l set last_seq = n.seq from numbered n where l.task_id = n.task_id
)
select n.*, array['e:' || n.task_id || ':' || n.seq] as hints from numbered n;

-- name: close_questions :many hints
-- End open questions whose time is over or whose attempt no longer runs. One that expires gets its default as answer.
with due as materialized (
    select q.question_id, q.task_id, q.job, q.attempt from ado.questions q join ado.jobs j using (task_id, job)
    where q.state = 'open' and (q.expires_at <= now() or j.status <> 'running' or j.attempt <> q.attempt)
    order by q.question_id limit 1000
), locked_jobs as materialized (
    select j.task_id, j.job, j.attempt, j.status from ado.jobs j
    where (j.task_id, j.job) in (select task_id, job from due) order by j.task_id, j.job for update
), locked_logs as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id in (select task_id from locked_jobs) order by l.task_id for update
), ended as (
    update ado.questions q set answered_at = now(),
        state = case when r.is_running then 'expired' else 'closed' end,
        choice = case when r.is_running and q.kind <> 'text' then q.default_answer end,
        answer = case when r.is_running and q.kind = 'text' then q.default_answer end
    from due d
    join locked_jobs j using (task_id, job)
    cross join lateral (select j.status = 'running' and j.attempt = d.attempt as is_running) r
    where q.question_id = d.question_id and q.state = 'open'
    returning q.question_id, q.task_id, q.job, q.attempt, q.state, q.choice, q.answer
), numbered as (
    select e.*, l.last_seq + row_number() over (partition by e.task_id order by e.question_id) as seq
    from ended e join locked_logs l using (task_id) where e.state = 'expired'
), written_events as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select n.task_id, n.seq, n.job, n.attempt, 'answer', now(), now(),
           json_strip_nulls(json_build_object('questionId', 'question-' || n.question_id, 'choice', n.choice,
                                              'text', n.answer, 'expired', true))
    from numbered n
), advanced_logs as (
    update ado.task_logs l set last_seq = n.seq
    from (select task_id, max(seq) as seq from numbered group by task_id) n where l.task_id = n.task_id
)
select e.question_id,
       array['a:' || e.question_id] || case when n.seq is not null then array['e:' || n.task_id || ':' || n.seq] end as hints
from ended e left join numbered n using (question_id);

-- name: find_question :optional
select q.* from ado.questions q
where q.task_id = :task_id::bigint and q.job = :job::integer and q.attempt = :attempt::integer and q.key = :key::text;

-- name: get_question :optional
select q.* from ado.questions q where q.question_id = :question_id::bigint;

-- name: list_questions :many
-- Oldest first, after the last one of the previous page; ``state`` null: all of them. A page ends early when its
-- questions grow large; one always fits.
select f.*, count(*) over () < f.matches as more
from (
    select p.*, row_number() over by_id as position, count(*) over () as matches,
           sum(octet_length(p.text) + octet_length(p.options::text) + coalesce(octet_length(p.answer), 0) + 500)
               over by_id as bytes
    from (
        select q.* from ado.questions q
        where q.question_id > :after::bigint
          and (:state::text is null or q.state = :state::text)
          and (:task_id::bigint is null or q.task_id = :task_id::bigint)
          and (:creator::text is null or exists (
              select from ado.tasks t where t.task_id = q.task_id and t.created_by = :creator::text))
        order by q.question_id limit :row_limit::integer + 1
    ) p
    window by_id as (order by p.question_id)
) f
where f.position <= :row_limit::integer and (f.position = 1 or f.bytes <= :byte_limit::bigint)
order by f.question_id;
