-- name: answer_question :many hints
-- Store the first answer. No row: the question is no longer open, its time is over, or its attempt neither runs nor is
-- paused for it. An answer to remember also answers the task's other open requests for the same tool.
with wanted as materialized (
    select o.question_id, o.task_id, o.job, o.attempt
    from ado.questions q
    join ado.questions o on o.question_id = q.question_id
        or (:remember::boolean and o.state = 'open' and o.task_id = q.task_id and o.kind = q.kind and o.tool = q.tool
            and o.options::text = q.options::text)
    where q.question_id = :question_id::bigint
), locked_jobs as materialized (
    select j.task_id, j.job, j.attempt, j.worker_id from ado.jobs j
    where (j.status = 'running' or j.status = 'paused' and j.reason = 'question')
      and (j.task_id, j.job, j.attempt) in (select task_id, job, attempt from wanted)
    order by j.task_id, j.job for update of j
), locked_log as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id in (select task_id from locked_jobs) for update of l
), target as materialized (
    select q.question_id from ado.questions q
    join locked_jobs using (task_id, job, attempt) join locked_log using (task_id)
    where q.question_id = :question_id::bigint and q.state = 'open' and (q.expires_at is null or q.expires_at > now())
    for update of q
), answered as (
    update ado.questions q set state = 'answered', choice = :choice::text, answer = :answer::text,
        remembered = :remember::boolean, answered_by = :actor::json ->> 'name', answered_at = now()
    from wanted w join locked_jobs h using (task_id, job, attempt) join locked_log l using (task_id) cross join target
    where q.question_id = w.question_id and q.state = 'open' and (q.expires_at is null or q.expires_at > now())
    returning q.*, h.worker_id, l.last_seq
), numbered as (
    select a.*, a.last_seq + row_number() over (order by a.question_id) as seq from answered a
), written_events as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select n.task_id, n.seq, n.job, n.attempt, 'answer', now(), now(),
           json_strip_nulls(json_build_object('questionId', 'question-' || n.question_id, 'choice', n.choice,
               'text', n.answer, 'by', n.answered_by, 'remember', case when n.remembered then 'task' end))
    from numbered n
), advanced_log as (
    update ado.task_logs l set last_seq = n.seq
    from (select task_id, max(seq) as seq from numbered group by task_id) n where l.task_id = n.task_id
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select c.*, 'task-' || n.task_id from numbered n cross join ado.audit_actor(:actor::json) c
    where n.question_id = :question_id::bigint
)
select n.*, array['e:' || n.task_id || ':' || n.seq, 'a:' || n.question_id]
            || case when n.worker_waits then array['w:' || n.worker_id] end as hints
from numbered n;

-- name: ask_question :optional hints
-- Store a question of a running attempt, once for each key. No row: it is stored already, an answer to it is remembered,
-- the attempt before was paused for the same question and has its answer, the attempt does not run or does not ask with
-- its credential, or its job has asked as many questions as it may. The job itself asks without a worker's id.
with held as materialized (
    select j.task_id, j.job, j.attempt from ado.jobs j
    where j.task_id = :task_id::bigint and j.job = :job::integer and j.attempt = :attempt::integer
      and j.status = 'running'
      and (:worker_id::text is null or (j.worker_id = :worker_id::text
          and (j.credential_digest is null or j.credential_digest = :credential::bytea)))
    for update of j
), locked_log as materialized (
    select l.task_id, l.last_seq from ado.task_logs l join held using (task_id) for update of l
), asked as (
    insert into ado.questions (task_id, job, attempt, key, kind, text, options, default_answer, expires_at, tool, input,
                               worker_waits)
    select h.task_id, h.job, h.attempt, :key::text, :kind::text, :text::text, :options::json, :default_answer::text,
           now() + make_interval(secs => :timeout_seconds::double precision), :tool::text, :input::json, true
    from held h join locked_log using (task_id)
    where (select count(*) from ado.questions q where q.task_id = h.task_id and q.job = h.job) < :job_limit::integer
      and not exists (
          select from ado.questions q where q.task_id = h.task_id and q.tool = :tool::text and q.remembered
            and q.kind = :kind::text and q.options::text = :options::text)
      and not exists (
          select from ado.questions q where q.task_id = h.task_id and q.job = h.job and q.attempt = h.attempt - 1
            and q.carried and q.state = 'answered' and q.kind = :kind::text and q.text = :text::text
            and q.options::text = :options::text and q.tool is not distinct from :tool::text
            and q.input::text is not distinct from :input::text)
    on conflict (task_id, job, attempt, key) do nothing
    returning *
), numbered as (
    select a.*, l.last_seq + 1 as seq from asked a join locked_log l using (task_id)
), written_event as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select n.task_id, n.seq, n.job, n.attempt, 'question', now(), now(),
           json_strip_nulls(json_build_object('questionId', 'question-' || n.question_id, 'kind', n.kind, 'text', n.text,
               'options', n.options, 'default', n.default_answer, 'expiresAt', n.expires_at, 'tool', n.tool,
               'input', n.input))
    from numbered n
), advanced_log as (
    update ado.task_logs l set last_seq = n.seq from numbered n where l.task_id = n.task_id
)
select n.*, array['e:' || n.task_id || ':' || n.seq] as hints from numbered n;

-- name: close_questions :many hints
-- End open questions whose time is over, or whose attempt neither runs nor is paused for them. One that expires gets its
-- default as answer.
with due as materialized (
    select q.question_id, q.task_id, q.job, q.attempt from ado.questions q join ado.jobs j using (task_id, job)
    where q.state = 'open' and (q.expires_at <= now() or j.attempt <> q.attempt
                                or j.status <> 'running' and not (j.status = 'paused' and j.reason = 'question'))
    order by q.question_id limit 1000
), locked_jobs as materialized (
    select j.task_id, j.job, j.attempt, j.worker_id,
           j.status = 'running' or j.status = 'paused' and j.reason = 'question' as waits
    from ado.jobs j
    where (j.task_id, j.job) in (select task_id, job from due) order by j.task_id, j.job for update
), locked_logs as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id in (select task_id from locked_jobs) order by l.task_id for update
), ended as (
    update ado.questions q set answered_at = now(),
        state = case when r.waits then 'expired' else 'closed' end,
        choice = case when r.waits and q.kind <> 'text' then q.default_answer end,
        answer = case when r.waits and q.kind = 'text' then q.default_answer end
    from due d
    join locked_jobs j using (task_id, job)
    cross join lateral (select j.waits and j.attempt = d.attempt as waits) r
    where q.question_id = d.question_id and q.state = 'open'
    returning q.question_id, q.task_id, q.job, q.attempt, q.state, q.choice, q.answer,
              case when q.worker_waits then j.worker_id end as asker
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
       array['a:' || e.question_id] || case when n.seq is not null then array['e:' || n.task_id || ':' || n.seq] end
           || case when e.asker is not null then array['w:' || e.asker] end as hints
from ended e left join numbered n using (question_id);

-- name: find_question :optional
-- The question with a key; if there is none, the one whose answer counts for this one, see ask_question.
select q.* from ado.questions q
where q.task_id = :task_id::bigint
  and ((q.job = :job::integer and q.attempt = :attempt::integer and q.key = :key::text)
       or (q.remembered and q.tool = :tool::text and q.kind = :kind::text and q.options::text = :options::text)
       or (q.job = :job::integer and q.attempt = :attempt::integer - 1 and q.carried and q.state = 'answered'
           and q.kind = :kind::text and q.text = :text::text and q.options::text = :options::text
           and q.tool is not distinct from :tool::text and q.input::text is not distinct from :input::text))
order by q.job = :job::integer and q.attempt = :attempt::integer and q.key = :key::text desc, q.answered_at desc
limit 1;

-- name: ended_questions :many
-- Questions of a worker's running attempts that are no longer open and that the worker still waits for.
select q.* from ado.jobs j join ado.questions q using (task_id, job, attempt)
where j.worker_id = :worker_id::text and j.status = 'running' and q.worker_waits and q.state <> 'open'
order by q.question_id;

-- name: acknowledge_answers :optional
-- Note that the worker knows how questions of its running attempt ended. No row: the attempt does not run, or does not
-- write with its credential.
with held as materialized (
    select j.task_id, j.job, j.attempt from ado.jobs j
    where j.task_id = :task_id::bigint and j.job = :job::integer and j.attempt = :attempt::integer
      and j.worker_id = :worker_id::text and j.status = 'running'
      and (j.credential_digest is null or j.credential_digest = :credential::bytea)
    for update of j
), acknowledged as (
    update ado.questions q set worker_waits = false from held h
    where q.task_id = h.task_id and q.job = h.job and q.attempt = h.attempt
      and q.question_id = any(:question_ids::bigint[]) and q.worker_waits and q.state <> 'open'
)
select h.task_id from held h;

-- name: get_question :optional
select q.* from ado.questions q where q.question_id = :question_id::bigint;

-- name: list_questions :many
-- Oldest first, after the last one of the previous page; ``state`` null: all of them. A page ends early when its
-- questions grow large; one always fits.
select f.*, count(*) over () < f.matches as more
from (
    select p.*, row_number() over by_id as position, count(*) over () as matches,
           sum(octet_length(p.text) + octet_length(p.options::text) + coalesce(octet_length(p.answer), 0)
               + coalesce(octet_length(p.input::text), 0) + 500)
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

-- name: resume_answered_jobs :many hints
-- Queue the jobs that are paused for questions which have all ended, unless somebody wants them paused. The next attempt
-- begins with a message that has the answers. A question ends once and its job asks no other, so the questions need not
-- be locked.
with due as materialized (
    select j.task_id, j.job from ado.jobs j
    where j.status = 'paused' and j.reason = 'question' and j.pause_requested_at is null
      and not exists (select from ado.questions q where q.task_id = j.task_id and q.job = j.job
                      and q.attempt = j.attempt and q.state = 'open')
    order by j.task_id, j.job limit 200
), locked_jobs as materialized (
    select j.task_id, j.job, j.attempt from ado.jobs j
    where (j.task_id, j.job) in (select task_id, job from due)
      and j.status = 'paused' and j.reason = 'question' and j.pause_requested_at is null
    order by j.task_id, j.job for update
), locked_logs as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id in (select task_id from locked_jobs) order by l.task_id for update
), carried as (
    update ado.questions q set carried = true, worker_waits = false
    from locked_jobs h
    where q.task_id = h.task_id and q.job = h.job and q.attempt = h.attempt and q.worker_waits and q.state <> 'open'
    returning q.*
), words as (
    select c.task_id, c.job, string_agg(distinct c.answered_by, ', ') as senders, string_agg(
        'Your question "' || left(c.text, 2000) || '" '
        || case when coalesce(c.choice, c.answer) is null then 'was not answered in time.'
                else concat_ws(': ', case c.state when 'answered' then 'was answered'
                    else 'was not answered in time, and its default counts' end, coalesce((
                    select o ->> 'label' from json_array_elements(c.options) o where o ->> 'id' = c.choice), c.choice),
                    c.answer) end, e'\n\n' order by c.question_id) as text
    from carried c group by c.task_id, c.job
), stored as (
    insert into ado.messages (task_id, job, text, sender_name, created_at)
    select w.task_id, w.job, w.text, coalesce(w.senders, 'ado'), clock_timestamp() from words w
    returning *
), addressed as (
    insert into ado.message_jobs (message_id, task_id, job) select s.message_id, s.task_id, s.job from stored s
), queued_jobs as (
    update ado.jobs j set status = 'queued', reason = null, message = null, run_after = now(), finished_at = null,
        lease_expires_at = null, last_message_id = coalesce(s.message_id, j.last_message_id)
    from locked_jobs h left join stored s using (task_id, job)
    where j.task_id = h.task_id and j.job = h.job
), resumed_tasks as (
    update ado.tasks t set status = 'running' from locked_logs l where t.task_id = l.task_id and t.status = 'paused'
), written_events as (
    insert into ado.events (task_id, seq, job, type, at, stored_at, body)
    select s.task_id, l.last_seq + row_number() over (partition by s.task_id order by s.job), s.job, 'message', now(),
           now(), json_build_object('messageId', 'message-' || s.message_id, 'text', s.text, 'by', s.sender_name)
    from stored s join locked_logs l using (task_id)
    returning task_id, seq
), advanced_logs as (
    update ado.task_logs l set last_seq = w.seq
    from (select task_id, max(seq) as seq from written_events group by task_id) w where l.task_id = w.task_id
    returning l.task_id, l.last_seq
)
select h.task_id, h.job, array['q:1']
       || case when a.task_id is not null then array['e:' || a.task_id || ':' || a.last_seq] end as hints
from locked_jobs h left join advanced_logs a using (task_id);
