"""The spawner of processes, without processes and without a database."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from app.spawner.backends.base import EndedWorker
from app.spawner.decide import SpawnerLimits
from app.spawner.process_spawner import ProcessSpawner
from db.errors import DatabaseUnavailable


class Database:
    """Records which workers are gone, and is away at first."""

    def __init__(self):
        self.away, self.gone = True, []

    def worker_gone(self, worker_id):
        if self.away:
            raise DatabaseUnavailable("away")
        self.gone.append(worker_id)

    @contextmanager
    def deciding(self, backend):
        yield None


def test_workers_that_ended_while_the_database_was_away_are_recorded_once_it_is_back():
    ends = [[EndedWorker("a", 99.0, 1), EndedWorker("b", 99.0, 1)], [EndedWorker("c", 99.0, 0)], [], []]
    database, backend = Database(), SimpleNamespace(name="local", ended=lambda: ends.pop(0))
    spawner = ProcessSpawner(database, backend, SpawnerLimits(), None, interval=1.0)
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            spawner.step()
    database.away = False
    for _ in range(2):
        spawner.step()
    assert database.gone == ["a", "b", "c"]
