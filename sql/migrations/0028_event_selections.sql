-- oldest: 8
-- Readers of one job, of stderr, or of what is no output find it by an index: without one they read the whole log. The
-- bulk of a log, stdout, is in the first index alone. An existing log is indexed here, about a minute for 10 GB, while
-- its workers wait.

create index events_job_idx on ado.events (task_id, job, stream, seq);
create index events_stream_idx on ado.events (task_id, stream, seq) where stream is distinct from 'stdout';
