-- oldest: 8
-- What every monitor looks at every second must not grow with the queue: the tasks that may lack their terminal event.
create index tasks_unsettled_idx on ado.tasks (task_id)
    where status = 'running' or status = 'queued' and (cancel_requested_at is not null or failed_job is not null);
