-- oldest: 12
-- A function that runs as its owner must not find a caller's temporary objects first.

-- Postgres searches pg_temp before every schema unless the path names it. A login that may only read views could put a
-- view of its own named pg_stat_activity there, and have the owner evaluate it. Named last, it shadows nothing.
do $$
declare
    definer regprocedure;
begin
    for definer in
        select p.oid from pg_proc p where p.pronamespace = 'ado'::regnamespace and p.prosecdef
    loop
        execute format('alter function %s set search_path = pg_catalog, pg_temp', definer);
    end loop;
end $$;
