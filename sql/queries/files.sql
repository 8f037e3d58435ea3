-- name: begin_file :optional
-- Begin to send a file, or continue: the same name with the same content changes nothing. Only the running attempt
-- begins a job's file, with its credential if it has one. No row: the fence refused it, another file has the name, or
-- the attempt, the task, or the files that no task has taken are at the limit of number or bytes; half-sent files
-- count.
with others as (
    select count(*) as task_files, coalesce(sum(f.size), 0) as task_bytes,
           count(*) filter (where f.attempt = :attempt::integer and f.job = :job::integer) as attempt_files,
           coalesce(sum(f.size) filter (where f.attempt = :attempt::integer and f.job = :job::integer), 0) as attempt_bytes
    from ado.files f
    where (f.task_id = :task_id::bigint or (:task_id::bigint is null and f.task_id is null))
      and f.file_id <> :file_id::text
), held as (
    select from ado.jobs j
    where j.task_id = :task_id::bigint and j.job = :job::integer and j.attempt = :attempt::integer
      and j.worker_id = :worker_id::text and j.status = 'running'
      and (j.credential_digest is null or j.credential_digest = :credential::bytea)
)
insert into ado.files as f (file_id, kind, task_id, job, attempt, worker_id, size, sha256, about)
select :file_id::text, :kind::text, :task_id::bigint, :job::integer, :attempt::integer, :worker_id::text,
       :size::bigint, :digest::bytea, :about::json
from others o
where (:job::integer is null or exists (select from held))
  and o.task_files < :task_file_limit::bigint and o.task_bytes + :size::bigint <= :task_byte_limit::bigint
  and (:job::integer is null or o.attempt_files < :attempt_file_limit::bigint
       and o.attempt_bytes + :size::bigint <= :attempt_byte_limit::bigint)
on conflict (file_id) do update set size = excluded.size
where f.kind = excluded.kind and f.size = excluded.size and f.sha256 = excluded.sha256
  and f.task_id is not distinct from excluded.task_id and f.job is not distinct from excluded.job
  and f.attempt is not distinct from excluded.attempt and f.worker_id is not distinct from excluded.worker_id
returning f.*;

-- name: complete_file :optional
-- Let a file count whose bytes are right. A job's file replaces the older ones of its kind, and counts only while its
-- attempt runs. The job's row is locked, so a lease that is lost meanwhile is lost first.
with held as materialized (
    select from ado.files f join ado.jobs j on j.task_id = f.task_id and j.job = f.job
    where f.file_id = :file_id::text and j.attempt = f.attempt and j.worker_id = f.worker_id and j.status = 'running'
    for share of j
), completed as (
    update ado.files f set completed_at = now()
    where f.file_id = :file_id::text and f.completed_at is null and (f.job is null or exists (select from held))
    returning f.*
), superseded as (
    delete from ado.files o using completed c
    where o.task_id = c.task_id and o.job = c.job and o.kind = c.kind and o.file_id <> c.file_id
), audited as (
    insert into ado.audit (user_id, token_id, address, procedure, request_id, target)
    select a.*, c.file_id from completed c cross join ado.audit_actor(:actor::json) a
)
select file_id from completed;

-- name: get_file :optional
select f.* from ado.files f where f.file_id = :file_id::text;

-- name: list_files :many
-- The files of a task, newest last, after the last one of the previous page; files of no job come first, as job -1. A
-- checkpoint counts until its attempt, or a later one, has uploaded a result and reported its end: the next attempt
-- starts anew, unless the job continues. A page ends early when the descriptions of its files grow large.
select f.file_id, f.kind, f.task_id, f.job, f.attempt, f.worker_id, f.size, f.sha256, f.about, f.created_at,
       f.completed_at, count(*) over () < f.matches as more
from (
    select p.*, row_number() over by_job as position, count(*) over () as matches,
           sum(300 + coalesce(octet_length(p.about::text), 0)) over by_job as bytes
    from (
        select f.*, coalesce(f.job, -1) as place from ado.files f
        where f.task_id = :task_id::bigint and f.completed_at is not null
          and (f.kind <> 'checkpoint' or not exists (
              select from ado.files r join ado.jobs j on j.task_id = r.task_id and j.job = r.job
              where r.task_id = f.task_id and r.job = f.job and r.kind = 'result' and r.completed_at is not null
                and not j.continues and r.attempt >= f.attempt and j.finished_attempt >= r.attempt))
          and (:after::text is null or (coalesce(f.job, -1), f.completed_at, f.file_id)
               > (:after_job::integer, :after_at::timestamptz, :after::text))
        order by coalesce(f.job, -1), f.completed_at, f.file_id limit :row_limit::integer + 1
    ) p
    window by_job as (order by p.place, p.completed_at, p.file_id)
) f
where f.position <= :row_limit::integer and (f.position = 1 or f.bytes <= :byte_limit::bigint)
order by f.place, f.completed_at, f.file_id;

-- name: prune_files :one
-- Delete files that no task took within a day or that were never completed, checkpoints of jobs that succeeded so long
-- ago that they do not continue any more, and all files of tasks whose log was dropped.
with pruned as (
    delete from ado.files f
    where (f.task_id is null or f.completed_at is null)
      and f.created_at < now() - make_interval(secs => :keep_seconds::double precision)
    returning f.size
), passed as (
    delete from ado.files f using ado.jobs j
    where f.kind = 'checkpoint' and j.task_id = f.task_id and j.job = f.job and j.status = 'succeeded'
      and j.finished_at <= now() - make_interval(secs => :session_seconds::double precision)
    returning f.size
), dropped as (
    delete from ado.files f using ado.log_ranges r
    where r.pruned_at is not null and f.task_id >= r.from_task_id and f.task_id < r.to_task_id
    returning f.size
)
select count(*) as files, coalesce(sum(size), 0)::bigint as bytes
from (select size from pruned union all select size from passed union all select size from dropped) gone;

-- name: read_chunk :optional
select c.data from ado.file_chunks c where c.file_id = :file_id::text and c.number = :number::integer;

-- name: received_chunks :one
-- How many pieces are stored without a gap.
select coalesce(min(expected) filter (where number is null), count(number))::integer as chunks
from generate_series(0, greatest(0, :count::integer - 1)) as expected
left join ado.file_chunks c on c.file_id = :file_id::text and c.number = expected;

-- name: write_chunk :optional
-- Store one piece; repeating it changes nothing. No row: the file is complete or unknown, or its attempt no longer
-- runs.
insert into ado.file_chunks (file_id, number, data)
select f.file_id, :number::integer, :data::bytea from ado.files f
where f.file_id = :file_id::text and f.completed_at is null
  and (f.job is null or exists (
      select from ado.jobs j where j.task_id = f.task_id and j.job = f.job and j.attempt = f.attempt
        and j.worker_id = f.worker_id and j.status = 'running'))
on conflict (file_id, number) do update set data = excluded.data
returning number;
