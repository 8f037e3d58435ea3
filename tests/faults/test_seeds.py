"""Jobs write while links break and processes are killed at random: the log stays exact for every reader.

A seed decides what happens and when; it is in the test's name and printed with what was done. ``ADO_FAULT_SEEDS``
chooses others.
"""

import asyncio
import random
import sys
import threading

import pytest
from support import stream, truth
from support.field import REPLICAS, Field
from support.program import until
from support.readers import CommandReader, Recorder, read_through, read_wandering

CHUNKS, PAUSE = 100, 0.08
JOBS, WORKERS, SPAWNED = 3, 2, 2
RECORDED, RECORD_PAUSE = 80, 0.05
FAULTS = 14
SECONDS = 240  # a bound for machines that do much else; a seed takes about twenty


class Storm:
    """Faults drawn from a seed, one after another, each undone before the next."""

    def __init__(self, field, readers, rng):
        self._field = field
        self._readers = readers
        self._rng = rng
        self.done = []
        """What was done, for the report of a failure."""
        self.over = threading.Event()
        self._worker_kills = 0

    def blow(self, count):
        for _ in range(count):
            if self.over.is_set():
                return
            act = self._rng.choice(
                [
                    *[self._cut, self._cut, self._half_close, self._delay, self._throttle, self._stop, self._deaf],
                    *[self._refuse, self._kill_replica, self._kill_worker, self._kill_postgres, self._kill_backend],
                    *[self._kill_reader, self._kill_reader, self._kill_spawner],
                ]
            )
            act()
            self._field.last(self._rng.uniform(0.05, 0.5))
        self._field.go()

    def _link(self):
        name = self._rng.choice(sorted(self._field.links))
        return name, self._field.links[name]

    def _for_a_while(self, what, name, longest=1.5):
        seconds = self._rng.uniform(0.05, longest)
        self.done.append(f"{what} {name} for {seconds:.2f} s")
        self._field.last(seconds)
        self._field.go()

    def _cut(self):
        name, link = self._link()
        link.cut()
        self.done.append(f"cut {name}")

    def _half_close(self):
        name, link = self._link()
        direction = self._rng.choice(["up", "down"])
        link.half_close(direction)
        self.done.append(f"half-closed {name} {direction}")

    def _delay(self):
        name, link = self._link()
        link.delay = self._rng.uniform(0.005, 0.1)
        self._for_a_while("delayed", name)

    def _throttle(self):
        name, link = self._link()
        link.rate = self._rng.uniform(20_000, 200_000)
        self._for_a_while("throttled", name)

    def _stop(self):
        name, link = self._link()
        direction = self._rng.choice(["up", "down"])
        link.stop(direction)
        self._for_a_while(f"stopped {direction}", name, 3.0)

    def _deaf(self):
        name, link = self._link()
        link.go_deaf()
        self._for_a_while("deaf", name, 3.0)

    def _refuse(self):
        name, link = self._link()
        link.refuse()
        seconds = self._rng.uniform(0.1, 1.5)
        self.done.append(f"refused {name} for {seconds:.2f} s")
        self._field.last(seconds)
        link.accept()

    def _kill_replica(self):
        index, away = self._rng.randrange(REPLICAS), self._rng.uniform(0, 1)
        self.done.append(f"killed replica {index}")
        self._field.kill_replica(index, away)

    def _kill_worker(self):
        if self._worker_kills < 2:  # the third loss of one job fails it, rightly
            self._worker_kills += 1
            self.done.append("killed a worker")
            self._field.kill_worker(self._rng.randrange(WORKERS))

    def _kill_postgres(self):
        self.done.append("killed Postgres")
        self._field.kill_postgres(self._rng.uniform(0, 1))

    def _kill_backend(self):
        self.done.append("killed a backend of Postgres")
        self._field.kill_backend()

    def _kill_spawner(self):
        self.done.append("killed the spawner")
        self._field.kill_spawner(SPAWNED)

    def _kill_reader(self):
        self.done.append("killed a reader")
        self._rng.choice(self._readers).kill()


@pytest.mark.timeout(300)
async def test_the_log_stays_exact_under_random_faults(seed):
    rng = random.Random(seed)
    with Field() as field:
        for _ in range(WORKERS):
            field.add_worker()
        field.start_spawner(SPAWNED)
        task = field.create(stream.command(seed, CHUNKS, PAUSE), workers=JOBS)
        recorded = field.create("recorded", agent="recorder")
        recorder = Recorder(field.work_urls, field.cluster.token, "recorder")
        commands = [CommandReader(field, name, field.view_urls) for name in (task, recorded)]
        storm = Storm(field, commands, rng)
        blowing = asyncio.ensure_future(asyncio.to_thread(storm.blow, FAULTS))
        try:
            async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
                token, urls = field.cluster.token, field.view_urls
                group.create_task(recorder.run(RECORDED, RECORD_PAUSE))
                readers = {
                    name: group.create_task(read)
                    for name, read in (
                        ("through", read_through(urls, token, task)),
                        ("wandering", read_wandering(urls, token, task, random.Random(seed))),
                    )
                }
                await asyncio.shield(blowing)
                await asyncio.to_thread(until, lambda: all(_ended(command) for command in commands), "readers", SECONDS)
        finally:
            storm.over.set()
            await asyncio.wait([blowing])
            sys.stdout.write(f"seed {seed}: {'; '.join(storm.done)}\n{field.complaints()}\n")
        log = truth.stored(field, task)
        truth.check_order(log)
        finished = truth.check_bytes(log, seed, CHUNKS)
        assert {job for job, _ in finished} == set(range(JOBS)) or _lost_three_times(log)
        for name, reading in readers.items():
            truth.check_reader(name, reading.result(), log)
        truth.check_reader("command", commands[0].seen(), log)
        record = truth.stored(field, recorded)
        truth.check_order(record)
        truth.check_reader("command of the record", commands[1].seen(), record)
        kept = truth.output_of(record)
        for attempt, acknowledged in recorder.acknowledged.items():
            text = kept[0, attempt, "stdout"].decode()
            assert text.startswith("".join(acknowledged)), f"acknowledged and missing in attempt {attempt}"


def _ended(command):
    command.tend()
    return command.process.poll() is not None


def _lost_three_times(log):
    ends = [event for event in log if event["type"] == "finished" and event["body"].get("reason") == "lost"]
    return bool(ends) and all(sum(e["type"] == "requeued" and e["job"] == end["job"] for e in log) >= 2 for end in ends)
