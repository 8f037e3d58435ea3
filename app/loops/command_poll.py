"""Wakes the command streams of workers that have a new command waiting, in case its hint was lost.

It runs two statements per poll interval for all workers of the replica. Each woken stream reads its own commands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from app.log.hub import Hub
from db import workers
from db.database import Database
from db.model import AttemptKey


@dataclass(eq=False, slots=True)
class _CommandStream:
    worker_id: str
    known: set[AttemptKey]


class CommandPoll:
    """Polls for commands. It remembers what each worker held, because a lost attempt leaves no row."""

    def __init__(self, db: Database, hub: Hub) -> None:
        self._db = db
        self._hub = hub
        self._held: Mapping[str, frozenset[AttemptKey]] = {}
        self._open: set[tuple[str, str]] = set()
        self._streams: set[_CommandStream] = set()

    @contextmanager
    def following(self, worker_id: str) -> Iterator[set[AttemptKey]]:
        """Keep a set of the attempts that a worker held at some poll, from the last one on.

        Only the stream takes attempts out. A poll may find an attempt gone before the stream has looked for it.
        """
        stream = _CommandStream(worker_id, set(self._held.get(worker_id, ())))
        self._streams.add(stream)
        try:
            yield stream.known
        finally:
            self._streams.discard(stream)

    async def step(self) -> None:
        """Poll once; send no query while no worker listens on this replica.

        A command stays open until the worker has acted on it, which may take minutes. A stream is woken for it once:
        each of a thousand streams would read the tables again at each poll. A stream that begins later reads all.
        """
        if not self._hub.anybody_for("w"):
            self._held, self._open = {}, set()
            return
        held = await workers.all_held(self._db)
        gone = [(name, key) for name, keys in self._held.items() for key in keys - held.get(name, frozenset())]
        commands = await workers.open_commands(self._db, gone)
        for worker_id in {worker_id for worker_id, _ in commands - self._open}:
            self._hub.wake(("w", worker_id))
        self._held, self._open = held, commands
        for stream in self._streams:
            stream.known |= held.get(stream.worker_id, frozenset())
