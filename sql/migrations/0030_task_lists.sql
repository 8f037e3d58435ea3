-- oldest: 8
-- Lists of tasks read by index, whatever they are filtered by: by status in the order of ids, since a time, and with a
-- label of any value. Existing tasks are indexed here, some seconds for a million, while changes of tasks wait.

create index tasks_status_idx on ado.tasks (status, task_id);
create index tasks_created_at_idx on ado.tasks (created_at, task_id);
create index tasks_label_names_idx on ado.tasks using gin (labels) where labels <> '{}';
