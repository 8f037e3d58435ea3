-- oldest: 8
-- Bytes that pass through ado.input_chunks are dead within seconds and lie in its TOAST table, where 20 percent of dead
-- rows and pauses between pages let them pile up: 2,246 MiB behind an input of 2.5 GiB, and they stayed. Vacuumed from
-- 10,000 dead pieces of 2 kB on and without pauses they take 581 MiB at most, and nothing once the job has ended.

alter table ado.input_chunks set (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 32, autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 10000,
    toast.autovacuum_vacuum_cost_delay = 0
);
