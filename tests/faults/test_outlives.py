"""A replica outlives its database: killed again and again, frozen, cut off in the middle of anything, it never ends."""

import os
import random
import signal
import sys

import pytest
from support.field import REPLICAS, Field
from support.program import exists, until

ROUNDS = 8


def kill_postgres(field, rng):
    field.kill_postgres(rng.choice([0, 0.2, 1.5]))


def kill_a_backend(field, rng):
    field.kill_backend()


def stop_postgres(field, rng):
    field.stop_postgres()
    field.last(rng.choice([0, 1]))
    field.start_postgres()


def freeze_a_replica(field, rng):
    freeze([field.replicas[rng.randrange(REPLICAS)].pid], field, rng)


def freeze_every_replica_while_postgres_dies(field, rng):
    freeze([replica.pid for replica in field.replicas], field, rng, lambda: kill_postgres(field, rng))


def freeze_postgres(field, rng):
    freeze([field.server.pid], field, rng)


def cut_its_links(field, rng):
    for index in range(REPLICAS):
        field.links[f"pg{index}"].cut()


def go_deaf(field, rng):
    index = rng.randrange(REPLICAS)
    field.links[f"pg{index}"].go_deaf()
    field.last(rng.uniform(0.5, 3))
    field.go()
    if rng.random() < 0.5:
        field.links[f"pg{index}"].cut()


FAULTS = [
    kill_postgres, kill_a_backend, stop_postgres, freeze_a_replica, freeze_every_replica_while_postgres_dies,
    freeze_postgres, cut_its_links, go_deaf,
]  # fmt: skip


def freeze(pids, field, rng, meanwhile=lambda: None):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        field.last(rng.choice([0.2, 1, 4]))
        meanwhile()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def end_of(field):
    """Return what the log of a replica that has ended says last."""
    return "\n".join((field.home / f"api-{index}.log").read_text()[-3000:] for index in range(REPLICAS))


@pytest.mark.timeout(300)
def test_a_replica_survives_every_failure_of_its_database(seed):
    rng = random.Random(seed)
    with Field() as field:
        field.add_worker("--slots", "4")
        replicas = [replica.pid for replica in field.replicas]
        script = f"until [ -e {field.home / 'go'} ]; do echo line; sleep 0.05; done"
        task = field.create(script, workers=4)
        watching = field.cluster.open("logs", "-f", task, url=",".join(field.view_urls))
        assert watching.stdout.readline()  # it follows; without an answer to its first call it may give up
        try:
            for _ in range(ROUNDS):
                fault = rng.choice(FAULTS)
                fault(field, rng)
                field.last(rng.choice([0, 0.3, 1]))
                ended = [index for index, pid in enumerate(replicas) if not exists(pid)]
                assert not ended, f"after {fault.__name__}: {end_of(field)}"
            field.go()
            for index in range(REPLICAS):
                field.await_replica(index)
            (field.home / "go").touch()
            out, err = watching.communicate(timeout=90)
            assert watching.returncode == 0, err
            assert set(out.splitlines()) <= {b"[%d] line" % index for index in range(4)}
            assert field.cluster.task(task)["status"] == "succeeded"
        except BaseException:
            sys.stdout.write(field.complaints())
            raise
        assert [replica.poll() for replica in field.replicas] == [None] * REPLICAS


FOLLOWERS = [("logs", "-f"), ("logs", "-f", "--tail", "3"), ("logs", "-f", "-o", "jsonl"), ("attach",)]


@pytest.mark.timeout(200)
def test_followers_of_a_frozen_replica_move_to_another_one(cluster, home):
    cluster.add_worker("w1", url=cluster.urls[1])
    go = home / "go"
    script = f"i=0; until [ -e {go} ]; do echo line; i=$((i + 1)); sleep 0.2; done; echo last"
    cluster.ado("run", "--remote", "--detach", "--agent", "shell", script, check=0)
    until(lambda: cluster.sql("select 1 from ado.jobs where status = 'running'"), "the job, which nobody asks about")
    following = [cluster.open(*words, "task-1", url=cluster.urls[0]) for words in FOLLOWERS]
    for process in following:
        assert process.stdout.readline()
    os.kill(cluster.replicas[0].pid, signal.SIGSTOP)
    try:
        for process in following:
            assert process.stderr.readline() == b"ado: connection lost (the server has gone silent), retrying\n"
    finally:
        os.kill(cluster.replicas[0].pid, signal.SIGCONT)
    go.touch()
    for process in following:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert b"last" in out.splitlines()[-1] or b"succeeded" in out.splitlines()[-1]
        assert b"ado: connected again" in err
