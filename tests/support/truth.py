"""What must be true of every log: checked against the tables, the agents and every reader."""

import base64
from collections import defaultdict

from support.stream import STREAMS, whole

ENDS = ("requeued", "released", "finished")


def stored(field, task):
    """Return a task's log as it stands in the tables: dicts with seq, job, attempt, type, stream, data."""
    names = ("seq", "job", "attempt", "type", "stream", "data", "body")
    rows = field.sql(
        "select seq, job, attempt, type, stream, data, body from ado.events where task_id = %s order by seq",
        int(task.removeprefix("task-")),
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def check_order(log):
    """``seq`` is 1..n without gap, and attempts follow one another, each closed before the next begins."""
    assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
    open_attempts = {}
    last = defaultdict(int)
    for event in log:
        job, attempt, kind = event["job"], event["attempt"], event["type"]
        if job is None or attempt is None:
            continue
        if kind == "started":
            assert job not in open_attempts, f"{event} while attempt {open_attempts.get(job)} is open"
            assert attempt == last[job] + 1
            open_attempts[job] = last[job] = attempt
        else:
            assert open_attempts.get(job) == attempt, f"{event} outside of its attempt"
            if kind in ENDS:
                del open_attempts[job]
    assert not open_attempts
    terminal = [event for event in log if event["type"] in ("succeeded", "failed", "cancelled")]
    assert [event["seq"] for event in terminal] == [len(log)], "one terminal event, the log's last"


def output_of(log):
    """Return the bytes stored by (job, attempt, stream)."""
    found = defaultdict(bytes)
    parts = defaultdict(list)
    for event in log:
        if event["type"] == "output":
            parts[event["job"], event["attempt"], event["stream"]].append(bytes(event["data"] or b""))
    for key, data in parts.items():
        found[key] = b"".join(data)
    return found


def check_bytes(log, seed, chunks):
    """Each attempt's output is what its agent wrote, to the end where the attempt succeeded, to the cut elsewhere."""
    output = output_of(log)
    whole_ones = {
        (event["job"], event["attempt"])
        for event in log
        if event["type"] == "finished" and event["body"]["outcome"] == "succeeded"
    }
    attempts = {(event["job"], event["attempt"]) for event in log if event["type"] == "started"}
    for job, attempt in attempts:
        for stream in STREAMS:
            wanted = whole(seed, job, attempt, stream, chunks)
            found = output[job, attempt, stream]
            assert wanted.startswith(found), f"{job}.{attempt} {stream}: {_differ(wanted, found)}"
            if (job, attempt) in whole_ones:
                assert found == wanted, f"{job}.{attempt} {stream}: {len(found)} of {len(wanted)} bytes"
    return whole_ones


def _differ(wanted, found):
    at = next((i for i, (a, b) in enumerate(zip(wanted, found, strict=False)) if a != b), min(len(wanted), len(found)))
    return f"differs at byte {at}: wanted {wanted[at : at + 40]!r}, found {found[at : at + 40]!r}"


def check_reader(name, seen, log):
    """A reader saw every event once, in order, as it is stored."""
    numbers = [event["seq"] for event in seen]
    assert numbers == list(range(1, len(log) + 1)), f"{name}: {_stray(numbers, len(log))}"
    for event, truth in zip(seen, log, strict=True):
        assert (event["type"], event["job"], event["attempt"]) == (truth["type"], truth["job"], truth["attempt"])
        if event["type"] == "output":
            data = event["data"]
            raw = base64.b64decode(data) if event.get("encoding") else data.encode()
            assert raw == bytes(truth["data"] or b""), f"{name}: seq {event['seq']}"


def _stray(numbers, count):
    for place, number in enumerate(numbers, 1):
        if number != place:
            return f"saw {number} after {numbers[place - 2] if place > 1 else 0}"
    return f"saw {len(numbers)} of {count}"
