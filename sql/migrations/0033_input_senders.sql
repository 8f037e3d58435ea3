-- oldest: 26
-- Whether somebody still sends a job's input: senders that say so are counted, and one that falls silent ends the wait.

alter table ado.inputs add column beats bigint not null default 0;
comment on column ado.inputs.beats is 'How often its sender has said that it is there; 0: it does not say so.';
