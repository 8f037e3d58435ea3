"""What one fault of a link costs: nothing when it is shorter than the lease, an attempt when it is longer."""

import pytest
from support import stream, truth
from support.field import Field
from support.program import until

CHUNKS = 60
LEASE = {"ADO_SUSPECT_SECONDS": "5", "ADO_LEASE_SECONDS": "20"}
"""Far longer than a fault, so that a machine with much to do does not add to it what ends a lease."""


@pytest.fixture(scope="module")
def field():
    with Field(env=LEASE) as made:
        made.add_worker()
        yield made


def number(task):
    return int(task.removeprefix("task-"))


def events(field, task):
    return field.sql("select last_seq from ado.task_logs where task_id = %s", number(task))[0][0]


def ended(field, task):
    ask = "select status from ado.tasks where finished_at is not null and task_id = %s"
    until(lambda: field.sql(ask, number(task)), "the end", 60)
    log = truth.stored(field, task)
    truth.check_order(log)
    return log


FAULTS = {
    "cut": lambda link: link.cut(),
    "half-closed upwards": lambda link: link.half_close("up"),
    "half-closed downwards": lambda link: link.half_close("down"),
    "stopped upwards": lambda link: link.stop("up"),
    "stopped downwards": lambda link: link.stop("down"),
    "deaf": lambda link: link.go_deaf(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_shorter_than_the_lease_loses_no_byte_and_no_attempt(field, fault):
    task = field.create(stream.command(1, CHUNKS, 0.05))
    for times in range(1, 3):
        until(lambda times=times: events(field, task) > 8 * times, "output")
        for name in ("work0", "work1"):
            FAULTS[fault](field.links[name])
        field.last(0.5)
        field.go()
    log = ended(field, task)
    assert truth.check_bytes(log, 1, CHUNKS) == {(0, 1)}
