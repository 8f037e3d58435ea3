-- name: append_batch :optional hints
-- Store one numbered batch. It is stored only for the running attempt, and only with the next number; otherwise there is
-- no row (get_job says why). Once the attempt's events have reached the limit of output, no output is stored, and at the
-- limit of events nothing is. The replica then stores the batch without what was refused; ``dropped_size`` is the number
-- of bytes that it left out. If the attempt has a credential, the batch must carry it. Storing renews the lease.
-- ``announce``: its hint may go out with this commit, as may its events if they are small (``live``).
-- append_batches could store one batch as well, but takes 285 µs of Postgres for it instead of 200.
with advanced_job as (
    update ado.jobs j set last_batch = :batch::bigint,
        output_bytes = j.output_bytes + :output_size::bigint + :other_size::bigint,
        dropped_bytes = j.dropped_bytes + :dropped_size::bigint,
        lease_expires_at = greatest(j.lease_expires_at,
                                    now() + make_interval(secs => :lease_seconds::double precision))
    where j.task_id = :task_id::bigint and j.job = :job::integer
      and j.status = 'running' and j.attempt = :attempt::integer and j.worker_id = :worker_id::text
      and j.last_batch = :batch::bigint - 1
      and (:output_size::bigint = 0 or j.output_bytes < :output_limit::bigint)
      and (:other_size::bigint = 0 or j.output_bytes < :event_limit::bigint)
      and (j.credential_digest is null or j.credential_digest = :credential::bytea)
    returning j.task_id
), advanced_log as (  -- it reads the job's row, so the job is locked first, as in every transition
    update ado.task_logs l set last_seq = l.last_seq + :event_count::integer
    from advanced_job j where l.task_id = j.task_id and :event_count::integer > 0
    returning l.task_id, l.last_seq, l.last_seq - :event_count::integer as base
), written_events as (
    insert into ado.events (task_id, seq, job, attempt, type, stream, at, stored_at, data, body)
    select l.task_id, l.base + e.number, :job::integer, :attempt::integer, e.type, e.stream, e.at, now(), e.data,
           e.body::json
    from advanced_log l, unnest(:types::text[], :streams::text[], :ats::timestamptz[], :datas::bytea[],
        :bodies::text[]) with ordinality as e(type, stream, at, data, body, number)
)
select case when l.task_id is null then null
            when :announce::boolean and ado.announce('e:' || l.task_id || ':' || l.last_seq, l.task_id || ' '
                || l.base + 1 || ' ' || (extract(epoch from now()) * 1000000)::bigint || ' ' || :live::text) then null
            else array['e:' || l.task_id || ':' || l.last_seq] end as hints
from advanced_job j left join advanced_log l using (task_id);

-- name: append_batches :many hints
-- Store one numbered batch for each of several attempts, all in one commit; each as append_batch does. The batches that
-- are not stored have no row. ``position`` is the place of the batch in the arrays.
with incoming as materialized (
    select i.* from unnest(:task_ids::bigint[], :jobs::integer[], :attempts::integer[], :worker_ids::text[],
        :batches::bigint[], :counts::integer[], :output_sizes::bigint[], :other_sizes::bigint[],
        :dropped_sizes::bigint[], :credentials::bytea[]) with ordinality
        as i(task_id, job, attempt, worker_id, batch, event_count, output_size, other_size, dropped_size, credential,
            position)
), locked_jobs as materialized (
    select j.task_id, j.job, j.attempt, i.batch, i.event_count, i.output_size + i.other_size as size,
           i.dropped_size, i.position
    from ado.jobs j join incoming i on i.task_id = j.task_id and i.job = j.job
    where j.status = 'running' and j.attempt = i.attempt and j.worker_id = i.worker_id and j.last_batch = i.batch - 1
      and (i.output_size = 0 or j.output_bytes < :output_limit::bigint)
      and (i.other_size = 0 or j.output_bytes < :event_limit::bigint)
      and (j.credential_digest is null or j.credential_digest = i.credential)
    order by j.task_id, j.job for update of j
), advanced_jobs as (
    update ado.jobs j set last_batch = l.batch, output_bytes = j.output_bytes + l.size,
        dropped_bytes = j.dropped_bytes + l.dropped_size, lease_expires_at = greatest(j.lease_expires_at,
        now() + make_interval(secs => :lease_seconds::double precision))
    from locked_jobs l where j.task_id = l.task_id and j.job = l.job
), locked_logs as materialized (
    select l.task_id, l.last_seq from ado.task_logs l
    where l.task_id in (select task_id from locked_jobs where event_count > 0) order by l.task_id for update
), numbered as materialized (
    select b.*, l.last_seq + sum(b.event_count) over (partition by b.task_id order by b.position
        rows unbounded preceding) - b.event_count as base
    from locked_jobs b join locked_logs l using (task_id)
), written_events as (
    insert into ado.events (task_id, seq, job, attempt, type, stream, at, stored_at, data, body)
    select n.task_id, n.base + e.number, n.job, n.attempt, e.type, e.stream, e.at, now(), e.data, e.body::json
    from unnest(:event_positions::bigint[], :event_numbers::integer[], :types::text[], :streams::text[],
        :ats::timestamptz[], :datas::bytea[], :bodies::text[])
        as e(position, number, type, stream, at, data, body)
    join numbered n on n.position = e.position
), advanced_logs as (
    update ado.task_logs l set last_seq = n.last_seq
    from (select task_id, max(base + event_count) as last_seq from numbered group by task_id) n
    where l.task_id = n.task_id
)
select j.position,
       case when n.base is not null then array['e:' || n.task_id || ':' || n.base + n.event_count] end as hints
from locked_jobs j left join numbered n on n.position = j.position;

-- name: extend_log :one
-- Keep enough partitions ahead of the newest task.
select ado.extend_log((select coalesce(max(task_id), 0) from ado.tasks) + :ahead::bigint) as made;

-- name: last_seq :optional
select l.last_seq, t.status in ('succeeded', 'failed', 'cancelled') as ended,
       (select r.pruned_at is not null from ado.log_ranges r
        where r.from_task_id <= l.task_id and l.task_id < r.to_task_id) as pruned
from ado.task_logs l join ado.tasks t using (task_id) where l.task_id = :task_id::bigint;

-- name: page_events :many
-- The event at a cursor, and the events after it in order: at most so many, and no more than fit the byte budget (but
-- always one). Each row says where the log ends. From this and from when the event at the cursor was stored, a reader
-- sees whether the log is still the one it has read; so that event comes without its content. A log without any of
-- them has one row without an event. The partitions are scanned once: with a second scan, the planner would plan every
-- page anew even where they are few.
select l.last_seq, e.task_id, e.seq, e.job, e.attempt, e.type, e.stream, e.at, e.stored_at, e.data, e.body
from ado.task_logs l left join (
    select p.task_id, p.seq, p.job, p.attempt, p.type, p.stream, p.at, p.stored_at,
           case when p.seq > :after::bigint then p.data end as data,
           case when p.seq > :after::bigint then p.body::text end as body,
           sum(case when p.seq > :after::bigint
                    then coalesce(octet_length(p.data), 0) + coalesce(octet_length(p.body::text), 0) else 0 end)
               over (order by p.seq rows unbounded preceding) as bytes_so_far
    from (
        select * from ado.events
        where task_id = :task_id::bigint and seq >= :after::bigint
        order by seq limit :row_limit::integer + (:after::bigint > 0)::integer
    ) p
) e on e.bytes_so_far <= :byte_limit::bigint or e.seq = :after::bigint + 1
where l.task_id = :task_id::bigint
order by e.seq;

-- name: page_selection :many
-- Like page_events, but only events of one job (null: all) and of the wanted streams; ``others`` are the events without
-- a stream. The few events of the task itself are always included, so a reader sees its end. ``complete``: no selected
-- event follows these. ``kept``: the log has not been dropped. Each branch is a range of an index, and an unwanted
-- branch is never read. The order names columns before seq, so the planner cannot choose the key and read the whole
-- log. Every scan names the task by the parameter, so the planner looks at one partition of the log only.
with chosen as materialized (
    select seq from (
        (select seq from ado.events
         where :job::integer is not null and 'stdout' = any(:streams::text[])
           and task_id = :task_id::bigint and job = :job::integer and (stream, seq) > ('stdout', :after::bigint)
           and (stream, seq) <= ('stdout', 9223372036854775807)
         order by stream, seq limit :row_limit::integer)
        union all
        (select seq from ado.events
         where :job::integer is not null and 'stderr' = any(:streams::text[])
           and task_id = :task_id::bigint and job = :job::integer and (stream, seq) > ('stderr', :after::bigint)
           and (stream, seq) <= ('stderr', 9223372036854775807)
         order by stream, seq limit :row_limit::integer)
        union all
        (select seq from ado.events
         where :job::integer is not null and :others::boolean
           and task_id = :task_id::bigint and job = :job::integer and stream is null and seq > :after::bigint
         order by stream, seq limit :row_limit::integer)
        union all
        (select seq from ado.events
         where :job::integer is null and 'stdout' = any(:streams::text[])
           and task_id = :task_id::bigint and stream = 'stdout' and seq > :after::bigint
         order by seq limit :row_limit::integer)
        union all
        (select seq from ado.events
         where :job::integer is null and 'stderr' = any(:streams::text[])
           and task_id = :task_id::bigint and stream is distinct from 'stdout' and (stream, seq) > ('stderr', :after::bigint)
           and (stream, seq) <= ('stderr', 9223372036854775807)
         order by stream, seq limit :row_limit::integer)
        union all
        (select seq from ado.events
         where :job::integer is null and :others::boolean
           and task_id = :task_id::bigint and stream is distinct from 'stdout' and stream is null and seq > :after::bigint
         order by stream, seq limit :row_limit::integer)
        union all
        (select seq from ado.events
         where (:job::integer is not null or not :others::boolean)
           and task_id = :task_id::bigint and job is null and stream is null and seq > :after::bigint
         order by job, stream, seq limit :row_limit::integer)
    ) found
    order by seq limit :row_limit::integer
), measured as (
    select e.*, sum(coalesce(octet_length(e.data), 0) + coalesce(octet_length(e.body::text), 0))
                    over (order by e.seq rows unbounded preceding) as bytes_so_far,
           row_number() over (order by e.seq) as position
    from chosen c join ado.events e on e.task_id = :task_id::bigint and e.seq = c.seq
), taken as (
    select * from measured where bytes_so_far <= :byte_limit::bigint or position = 1
)
select l.last_seq, e.task_id, e.seq, e.job, e.attempt, e.type, e.stream, e.at, e.stored_at, e.data, e.body::text as body,
       (select count(*) from chosen) < :row_limit::integer
           and (select count(*) from taken) = (select count(*) from chosen) as complete,
       exists (select from ado.events k where k.task_id = :task_id::bigint and k.seq = l.last_seq) as kept
from ado.task_logs l left join taken e on true
where l.task_id = :task_id::bigint
order by e.seq;

-- name: search_window :many
-- The events next to a cursor, before it or after it, in order: at most so many, and no more than fit the byte budget
-- (but always one). Of other jobs than the wanted one (null: all) only ``seq`` is read.
select p.task_id, p.seq, p.job, p.attempt, p.type, p.stream, p.at, p.stored_at,
       case when p.is_wanted then p.data end as data, case when p.is_wanted then p.body::text end as body, p.is_wanted
from (
    select e.*, row_number() over nearest as position,
           sum(case when e.is_wanted then coalesce(octet_length(e.data), 0) + coalesce(octet_length(e.body::text), 0)
                    else 0 end) over nearest as bytes
    from (
        select n.*, :job::integer is null or n.job is null or n.job = :job::integer as is_wanted
        from (
            (select * from ado.events where :backwards::boolean and task_id = :task_id::bigint and seq < :cursor::bigint
             order by seq desc limit :row_limit::integer)
            union all
            (select * from ado.events
             where not :backwards::boolean and task_id = :task_id::bigint and seq > :cursor::bigint
             order by seq limit :row_limit::integer)
        ) n
    ) e
    window nearest as (order by case when :backwards::boolean then -e.seq else e.seq end)
) p
where p.bytes <= :byte_limit::bigint or p.position = 1
order by p.seq;

-- name: seq_before_tail :one
-- The cursor before the last N events of a selection (see page_selection); for N = 0 the end of the log.
select coalesce(min(seq) - 1, (select l.last_seq from ado.task_logs l where l.task_id = :task_id::bigint), 0) as after
from (
    select seq from (
        (select seq from ado.events
         where :job::integer is not null and 'stdout' = any(:streams::text[])
           and task_id = :task_id::bigint and job = :job::integer and (stream, seq) > ('stdout', 0)
           and (stream, seq) <= ('stdout', 9223372036854775807)
         order by stream desc, seq desc limit :count::integer)
        union all
        (select seq from ado.events
         where :job::integer is not null and 'stderr' = any(:streams::text[])
           and task_id = :task_id::bigint and job = :job::integer and (stream, seq) > ('stderr', 0)
           and (stream, seq) <= ('stderr', 9223372036854775807)
         order by stream desc, seq desc limit :count::integer)
        union all
        (select seq from ado.events
         where :job::integer is not null and :others::boolean
           and task_id = :task_id::bigint and job = :job::integer and stream is null
         order by stream desc, seq desc limit :count::integer)
        union all
        (select seq from ado.events
         where :job::integer is null and 'stdout' = any(:streams::text[])
           and task_id = :task_id::bigint and stream = 'stdout'
         order by seq desc limit :count::integer)
        union all
        (select seq from ado.events
         where :job::integer is null and 'stderr' = any(:streams::text[])
           and task_id = :task_id::bigint and stream is distinct from 'stdout' and (stream, seq) > ('stderr', 0)
           and (stream, seq) <= ('stderr', 9223372036854775807)
         order by stream desc, seq desc limit :count::integer)
        union all
        (select seq from ado.events
         where :job::integer is null and :others::boolean
           and task_id = :task_id::bigint and stream is distinct from 'stdout' and stream is null
         order by stream desc, seq desc limit :count::integer)
    ) found
    order by seq desc limit :count::integer
) newest;

-- name: seq_before_time :one
-- The cursor before everything stored since a moment. The times of storing are in the order of seq, but for the milliseconds
-- in which transactions wait for each other, and seq has no gap. So a binary search finds the moment: about twenty look-ups by the key, however long the log.
with recursive search as (
    select 0::bigint as low, l.last_seq as high from ado.task_logs l where l.task_id = :task_id::bigint
    union all
    select case when m.older then m.middle else s.low end, case when m.older then s.high else m.middle - 1 end
    from search s
    cross join lateral (
        select (s.low + s.high + 1) / 2 as middle,
               (select e.stored_at < :since::timestamptz from ado.events e
                where e.task_id = :task_id::bigint and e.seq = (s.low + s.high + 1) / 2) as older
    ) m
    where s.low < s.high
)
select coalesce((select low from search where low = high), 0) as after;
