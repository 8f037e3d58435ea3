-- name: forget_inputs :one
-- Delete the input of jobs that have ended otherwise than by their worker's report (see finish_jobs).
with forgotten as (
    delete from ado.inputs i using ado.jobs j
    where j.task_id = i.task_id and j.job = i.job and j.status in ('succeeded', 'failed', 'cancelled')
    returning i.task_id
)
select count(*) as inputs from forgotten;

-- name: lose_input :optional hints
-- Write, once an attempt, that input is gone which the attempt needs. No row: written already, or the attempt does not
-- run.
with held as materialized (
    select j.task_id, j.job, j.attempt from ado.jobs j
    where j.task_id = :task_id::bigint and j.job = :job::integer and j.attempt = :attempt::integer
      and j.status = 'running' for update of j
), locked_log as materialized (
    select l.task_id, l.last_seq from ado.task_logs l join held h using (task_id) for update of l
), lost as (
    update ado.inputs i set lost_in = h.attempt from held h
    where i.task_id = h.task_id and i.job = h.job and i.lost_in is distinct from h.attempt
    returning i.task_id, i.job, i.lost_in, i.kept_from
), written_event as (
    insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
    select i.task_id, l.last_seq + 1, i.job, i.lost_in, 'input_lost', now(), now(),
           json_build_object('lostBytes', i.kept_from)
    from lost i join locked_log l using (task_id)
    returning task_id, seq
), advanced_log as (
    update ado.task_logs l set last_seq = w.seq from written_event w where l.task_id = w.task_id
)
select w.seq, array['e:' || w.task_id || ':' || w.seq] as hints from written_event w;

-- name: read_input :many
-- The pieces from an offset on, up to so many bytes, but always one piece.
select p.begins_at, p.data
from (
    select c.begins_at, c.data,
           sum(octet_length(c.data)) over (order by c.begins_at) - octet_length(c.data) as before
    from (
        select c.begins_at, c.data from ado.input_chunks c
        where c.task_id = :task_id::bigint and c.job = :job::integer and c.begins_at >= coalesce((
            select max(f.begins_at) from ado.input_chunks f
            where f.task_id = :task_id::bigint and f.job = :job::integer and f.begins_at <= :offset::bigint), 0)
        order by c.begins_at limit 1000
    ) c
) p
where p.before < :byte_limit::bigint
order by p.begins_at;

-- name: store_input :optional hints
-- Store new bytes, as far as ``waiting_limit`` allows bytes that no attempt has taken. Bytes that are stored already,
-- and bytes after a gap, change nothing. The end counts once everything before it is stored. No row: the job takes no
-- input, or no more. ``alive`` counts the call as a sign of life of the sender.
-- There is a hint only for new bytes and for the end: a sender that is held back waits for the reader by the same key, and
-- a hint of its own would wake it to call again at once.
with locked as materialized (
    select i.task_id, i.job, i.received, i.taken, i.ended from ado.inputs i
    where i.task_id = :task_id::bigint and i.job = :job::integer for update
), fresh as materialized (
    select l.task_id, l.job, l.received, :offset::bigint + octet_length(:data::bytea) as wanted,
           substring(:data::bytea from (l.received - :offset::bigint + 1)::integer
               for greatest(0, l.taken + :waiting_limit::bigint - l.received)::integer) as data
    from locked l
    where not l.ended and l.received between :offset::bigint and :offset::bigint + octet_length(:data::bytea)
), changes as materialized (
    select f.*, :ends::boolean and f.received + octet_length(f.data) = f.wanted as ends,
           octet_length(f.data) > 0 as has_data from fresh f
), stored as (
    insert into ado.input_chunks (task_id, job, begins_at, data)
    select c.task_id, c.job, c.received, c.data from changes c where c.has_data
), advanced as (
    update ado.inputs i set received = c.received + octet_length(c.data), beats = i.beats + :alive::boolean::integer,
        ended = c.ends
    from changes c
    where i.task_id = c.task_id and i.job = c.job and (c.has_data or c.ends or :alive::boolean)
    returning i.task_id, i.job, i.received, i.ended, c.has_data or c.ends as has_changed
)
select coalesce(a.received, l.received) as received, coalesce(a.ended, l.ended) as ended,
       case when a.has_changed then array['i:' || a.task_id || '/' || a.job] end as hints
from locked l left join advanced a using (task_id, job);

-- name: take_input :optional hints
-- Record that the attempt has everything before an offset, which makes room for as much; what then exceeds
-- ``keep_limit`` is deleted. No row: the attempt does not run, or the bytes after the offset are gone.
-- A call that records nothing new has no hint: the reader waits for the same key as the sender, and a hint of its own
-- would wake it to call again at once, without an end.
with held as materialized (
    select j.task_id, j.job from ado.jobs j
    where j.task_id = :task_id::bigint and j.job = :job::integer and j.attempt = :attempt::integer
      and j.worker_id = :worker_id::text and j.status = 'running'
      and (j.credential_digest is null or j.credential_digest = :credential::bytea)
    for share of j
), locked as materialized (
    select i.task_id, i.job, i.received, i.ended, i.beats, i.taken, i.kept_from,
           greatest(i.kept_from, least(:offset::bigint, i.received - :keep_limit::bigint)) as keep_from
    from ado.inputs i join held h using (task_id, job)
    where :offset::bigint between i.kept_from and i.received
    for update of i
), changed as (
    update ado.inputs i set taken = :offset::bigint, kept_from = l.keep_from
    from locked l
    where i.task_id = l.task_id and i.job = l.job and (l.taken, l.kept_from) <> (:offset::bigint, l.keep_from)
    returning i.task_id, i.job
), dropped as (
    delete from ado.input_chunks c using locked l
    where c.task_id = l.task_id and c.job = l.job and c.begins_at + octet_length(c.data) <= l.keep_from
)
select l.received, l.ended, l.beats,
       case when c.task_id is not null then array['i:' || l.task_id || '/' || l.job] end as hints
from locked l left join changed c using (task_id, job);
