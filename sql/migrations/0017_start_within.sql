-- oldest: 8
-- A task that is of use only if it starts in time.
alter table ado.tasks
    add column start_within_seconds double precision check (start_within_seconds > 0),
    add column start_by timestamptz;
create index tasks_start_by_idx on ado.tasks (start_by) where start_by is not null and status in ('queued', 'running');
comment on column ado.tasks.start_within_seconds is 'Longest wait of a job for its first claim, from the task''s creation or retry; null: no limit.';
comment on column ado.tasks.start_by is 'When jobs that nobody has claimed fail with not_started; null: never.';
