"""Samples of what a running system uses, and whether it still uses the same after a while."""

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from bench.figures import Figure
from bench.stage import resident

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Bound:
    """How much a measure may grow: by a share of what it was, and by an amount that does not count as growth."""

    share: float
    amount: float
    unit: str

    def largest(self, before: float) -> float:
        """Return the largest value that counts as the same."""
        return before * (1 + self.share) + self.amount


BOUNDS = {
    # An allocator keeps some pages of a peak, and a garbage collection comes when it comes.
    "memory": Bound(0.15, 8 * MIB, "bytes"),
    "descriptors": Bound(0.1, 10, ""),
    "threads": Bound(0.0, 4, ""),
    "connections": Bound(0.1, 5, ""),
    "files": Bound(0.1, 20, ""),
    # A page that is half empty is no bloat, and autovacuum comes once in a minute.
    "table": Bound(0.25, 2 * MIB, "bytes"),
    "index": Bound(0.25, 2 * MIB, "bytes"),
    "rows": Bound(0.25, 500, ""),
}
"""By the last word of a measure's name."""

_TABLES = """
select case when c.relname ~ '^events_\\d+$' then 'log' else c.relname::text end as name,
       sum(pg_table_size(c.oid))::bigint as table_bytes, sum(pg_indexes_size(c.oid))::bigint as index_bytes,
       sum(greatest(c.reltuples, 0))::bigint as row_count
from pg_class c where c.relnamespace = 'ado'::regnamespace and c.relkind = 'r'
group by 1 having sum(pg_total_relation_size(c.oid)) > 65536"""
_KEPT = frozenset({"audit", "samples", "log_ranges"})
"""Tables that keep a day or more, and so grow in a run of hours: their bytes a row count instead of their bytes."""


def of_process(pid: int) -> dict[str, float]:
    """Return the memory, descriptors and threads of a process; nothing if it has ended."""
    try:
        return {
            "memory": resident(pid),
            "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
            "threads": len(list(Path(f"/proc/{pid}/task").iterdir())),
        }
    except OSError:
        return {}


def of_database(dsn: str) -> dict[str, float]:
    """Return connections, and the bytes of tables and indexes; nothing while Postgres is away."""
    found: dict[str, float] = {}
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
            count = connection.execute("select count(*) from pg_stat_activity where datname = current_database()")
            found["Postgres connections"] = count.fetchall()[0][0]
            for name, heap, indexes, rows in connection.execute(_TABLES).fetchall():
                by = max(1, rows) / 1000 if name in _KEPT else 1  # of a thousand rows
                found[f"{name} table"], found[f"{name} index"] = heap / by, indexes / by
    except psycopg.Error:
        return {}
    return found


def of_directory(path: Path) -> float:
    """Count the files below a directory."""
    return sum(len(files) for _, _, files in os.walk(path))


def verdicts(samples: Sequence[Mapping[str, float]]) -> list[Figure]:
    """Compare the last quarter of the samples with the second one, measure by measure.

    The first quarter fills caches, pools and tables. A measure that is missing in one of the two has no verdict.
    """
    quarter = len(samples) // 4
    before, after = samples[quarter : 2 * quarter], samples[-quarter:]
    figures = []
    for name in sorted({name for sample in samples for name in sample}):
        first = [sample[name] for sample in before if name in sample]
        last = [sample[name] for sample in after if name in sample]
        if first and last:
            figures.append(_figure(name, statistics.median(first), statistics.median(last)))
    return figures


def _figure(name: str, before: float, after: float) -> Figure:
    bound = BOUNDS[name.rpartition(" ")[2]]
    largest = bound.largest(before)
    return Figure(name, after, bound.unit, before, f"≤ {largest:,.0f} {bound.unit}".strip(), after <= largest)
