-- oldest: 8
-- A partition is a table that an operator sees: it says what it holds, as the whole log does.

create or replace function ado.extend_log(upto bigint) returns integer
    language plpgsql security definer set search_path = pg_catalog as $$
declare
    newest bigint;
    width bigint;
    low bigint;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(hashtextextended('ado.extend_log', 0));
    -- A range is dropped whole, so it holds about a day: the largest of 100, 1000 and 10000 ids used up in one.
    select max(task_id) into newest from ado.tasks;
    select coalesce(max(w), 100) into width from (values (1000), (10000)) as widths(w)
    where (select t.created_at from ado.tasks t where t.task_id <= newest - w order by t.task_id desc limit 1)
        > now() - interval '1 day';
    -- ids are used up without a task too, by creates that found their idempotency key taken
    select greatest(upto, s.last_value + 100) into upto from ado.tasks_task_id_seq s;
    select coalesce(max(to_task_id), 0) into low from ado.log_ranges;
    while low <= upto loop
        -- made apart and then attached: that waits for no append, and no append waits for it
        execute format('create table ado.events_%s (like ado.events including storage including comments)', low);
        execute format('comment on table ado.events_%s is %L', low,
                       format('The log of the tasks %s to %s; read ado.events.', low, low + width - 1));
        execute format('alter table ado.events attach partition ado.events_%s for values from (%s) to (%s)',
                       low, low, low + width);
        insert into ado.log_ranges (from_task_id, to_task_id) values (low, low + width);
        low := low + width;
        made := made + 1;
    end loop;
    return made;
end $$;

do $$
declare
    part record;
    described record;
begin
    for part in select from_task_id as low, to_task_id as high from ado.log_ranges
                 where to_regclass(format('ado.events_%s', from_task_id)) is not null loop
        execute format('comment on table ado.events_%s is %L', part.low,
                       format('The log of the tasks %s to %s; read ado.events.', part.low, part.high - 1));
        for described in select attname, col_description(attrelid, attnum) as words from pg_attribute
                         where attrelid = 'ado.events'::regclass and attnum > 0 and not attisdropped loop
            execute format('comment on column ado.events_%s.%I is %L', part.low, described.attname, described.words);
        end loop;
    end loop;
end $$;
