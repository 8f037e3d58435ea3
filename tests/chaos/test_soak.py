"""Memory, connections, descriptors, tables and files of a system under load stay as they were, whatever is killed.

Two replicas, two spawners and their workers, and one worker by hand. Tasks print, fail, are cancelled, paused, retried,
asked, answered, made by a schedule and removed. One replica, one spawner and one worker live from the beginning to the
end: of these memory is compared. The others and Postgres are killed in turn. Every log is checked before its task is
removed. ``ADO_SOAK_MINUTES=120`` runs for two hours.
"""

import contextlib
import os
import random
import sys
import time
from pathlib import Path

import psycopg
import pytest
from bench.figures import table
from chaos.soak_load import KEPT_SECONDS, Kills, Load
from chaos.soak_samples import of_database, of_directory, of_process, verdicts
from chaos.test_chaos import SETTINGS, workers_of
from support.field import Field
from support.program import Cluster, until

MINUTES = float(os.environ.get("ADO_SOAK_MINUTES", "10"))
RATE = float(os.environ.get("ADO_SOAK_RATE", "1"))
"""Tasks a second."""
AGENT = Path(__file__).parents[1] / "support" / "word_agent.py"
ENV = {
    **SETTINGS,
    "ADO_KEEP_WORKERS_SECONDS": str(KEPT_SECONDS),
    "ADO_WORKER_CAPABILITIES": "shell,claude-code",
    "ANTHROPIC_API_KEY": "none",
}


@pytest.mark.long
@pytest.mark.timeout(MINUTES * 60 + 600)
def test_a_system_under_load_and_kills_uses_no_more_after_a_while(chaos_seed, tmp_path, monkeypatch):
    monkeypatch.setattr(Cluster, "forks", False)  # the memory of a fork is partly its parent's
    program = tmp_path / "claude"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{AGENT}" "$@"\n')
    program.chmod(0o755)
    tmp_path.chmod(0o755)
    rng = random.Random(chaos_seed)
    with Field(env=ENV) as field:
        field.cluster.env["PATH"] = f"{tmp_path}:{field.cluster.env['PATH']}"
        kills, load = Kills(field, rng, f"ado-soak-{os.getpid()}"), Load(field, rng, RATE)
        try:
            for _ in range(2):
                kills.start_spawner()
            worker = field.add_worker()
            kept = {"replica": field.replicas[0].pid, "spawner": kills.spawners[0].pid, "worker": worker.pid}
            load.start()
            samples = measure(field, kept, kills, load)
            load.stop()
            assert load.errors == []
            field.sql("delete from ado.schedules returning 1")
            open_tasks = "select count(*) from ado.tasks where finished_at is null"
            until(lambda: field.sql(open_tasks) == [(0,)], "the last tasks to end", 180)
        finally:
            load.stop()
            for pid in workers_of(field):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
    figures = verdicts(samples)
    sys.stdout.write(f"\n{table(figures)}\n\n{len(samples)} samples; did {load.counts}; killed {kills.done}\n")
    assert min(load.counts.values()) > 0
    assert [figure.what for figure in figures if not figure.met] == []
    compared = {figure.what for figure in figures}
    assert [name for name in kept if f"{name} memory" not in compared] == []  # they live from the beginning to the end


def measure(field, kept, kills, load):
    """Take samples and kill, in turn, at the same pace to the end."""
    samples, seconds, began = [], MINUTES * 60, time.monotonic()
    sample_every, kill_every = max(5.0, seconds / 160), max(20.0, seconds / 60)
    next_kill = kill_every
    while (now := time.monotonic() - began) < seconds and not load.errors:
        if now >= next_kill:
            with contextlib.suppress(psycopg.Error):
                kills.kill_one()
            next_kill += kill_every
        used = {f"{name} {what}": value for name, pid in kept.items() for what, value in of_process(pid).items()}
        samples.append({**used, **of_database(field.dsn), "work files": of_directory(field.home / "work")})
        sys.stderr.write(f"{now:.0f} s: {len(kills.done)} kills; did {load.counts}\n")
        field.last(min(sample_every, max(0.0, seconds - now)))
    return samples


def test_growth_is_told_from_what_comes_and_goes():
    def met(values):
        (figure,) = verdicts([{"replica memory": value} for value in values])
        return figure.met

    million = 1 << 20
    assert met([5 * million] * 4 + [100 * million] * 12)  # the first quarter fills caches
    assert met([100 * million] * 15 + [500 * million])  # one peak
    assert not met([(100 + 10 * number) * million for number in range(16)])


def test_a_measure_that_ended_with_its_process_has_no_verdict():
    assert verdicts([{"replica memory": 1.0}] * 8 + [{}] * 8) == []
