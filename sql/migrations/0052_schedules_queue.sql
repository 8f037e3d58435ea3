-- oldest: 26
-- A schedule may let one time wait until the task of the last one has ended. Replicas of an older release run it at once.

alter table ado.schedules drop constraint schedules_overlap_check;
alter table ado.schedules add constraint schedules_overlap_check check (overlap in ('skip', 'allow', 'cancel', 'queue'));
comment on column ado.schedules.overlap is 'What becomes of a time while the task of the last one has not ended: skip, allow, queue (one task waits for it), or cancel that task.';
comment on column ado.schedule_status.overlap is 'What becomes of a time while the last task has not ended: skip, allow, queue or cancel.';

comment on column ado.questions.worker_waits is 'Whether the worker of the attempt that asked has not acknowledged the end of the question.';
