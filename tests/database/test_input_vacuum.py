"""Bytes that passed through a job's stdin are cleared away while the next ones come."""

CHUNKS = """
select c.reloptions, t.reloptions as of_toast from pg_class c join pg_class t on t.oid = c.reltoastrelid
where c.oid = 'ado.input_chunks'::regclass
"""


async def test_dead_input_is_vacuumed_without_pauses(db):
    ((heap, toast),) = await db._pool.fetch(CHUNKS)
    assert {"autovacuum_vacuum_scale_factor=0", "autovacuum_vacuum_cost_delay=0"} <= set(heap) & set(toast)
    assert "autovacuum_vacuum_threshold=32" in heap
    assert "autovacuum_vacuum_threshold=10000" in toast
