"""Whose files are begun, written and completed, what that changes, and which files count against a limit."""

import hashlib
from dataclasses import replace

import pytest
from support.fences import DIGEST, changes, raw
from support.records import closed, finish

from db import files, tokens
from db.files import FileLimits
from db.model import HeldAttempt

W1 = HeldAttempt(1, 0, 1, "w1")
CONTENT = b"x"
ROOM = FileLimits()


def name(number):
    return f"file-{number:032x}"


def begin(db, number=1, fence=W1, *, kind="checkpoint", size=1, room=ROOM, content=CONTENT):
    kind = kind if fence else "base"
    digest = hashlib.sha256(content).digest()
    return files.begin(
        db, file_id=name(number), kind=kind, size=size, sha256=digest, about=None, fence=fence, room=room
    )


def write(db, number=1):
    return files.write(db, name(number), 0, CONTENT)


async def send(db, number=1, fence=W1, **values):
    assert await begin(db, number, fence, **values)
    assert await write(db, number)


WRONG = ({"task_id": 2}, {"job": 2}, {"attempt": 2}, {"worker_id": "w2"})


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_file_needs_its_job_attempt_and_worker(db, wrong):
    assert await changes(db, begin(db, fence=replace(W1, **wrong))) == (None, set())
    assert (await changes(db, begin(db)))[1] == {("file", name(1))}
    await closed(db, finish(1))
    assert await changes(db, begin(db, 2)) == (None, set())


async def test_a_file_needs_the_credential_of_its_attempt(db):
    await raw(db, "update ado.jobs set credential_digest = $1 where task_id = 1 and job = 0", DIGEST)
    for wrong in (None, tokens.digest("other")):
        assert await changes(db, begin(db, fence=replace(W1, credential=wrong))) == (None, set())
    assert await begin(db, fence=replace(W1, credential=DIGEST))


OTHERS = {
    "another kind": {"kind": "result"},
    "another size": {"size": 2},
    "other content": {"content": b"y"},
    "of another task": {"fence": HeldAttempt(2, 0, 1, "w1")},
    "of another job": {"fence": HeldAttempt(1, 1, 1, "w1")},
    "of another attempt": {"fence": HeldAttempt(1, 0, 2, "w1")},
    "of another worker": {"fence": HeldAttempt(1, 0, 1, "w2")},
}


@pytest.mark.parametrize("other", OTHERS)
async def test_a_name_belongs_to_one_file(db, other):
    assert await begin(db)
    fence = OTHERS[other].get("fence", W1)
    change = "update ado.jobs set attempt = $3, worker_id = $4 where task_id = $1 and job = $2"
    await raw(db, change, fence.task_id, fence.job, fence.attempt, fence.worker_id)
    assert await changes(db, begin(db, **OTHERS[other])) == (None, set())


async def test_a_file_counts_against_its_own_attempt_and_task_only(db):
    later, room = replace(W1, attempt=2), FileLimits(attempt_files=1, attempt_bytes=1)
    assert await begin(db, 1, room=room)
    await raw(db, "update ado.jobs set attempt = 2 where task_id = 1 and job in (0, 1)")
    assert await begin(db, 2, later, room=room)
    assert await begin(db, 3, replace(later, job=1), room=room)
    assert await begin(db, 4, HeldAttempt(2, 0, 1, "w2"), room=FileLimits(task_files=1, task_bytes=1))
    assert await begin(db, 5, None, room=FileLimits(task_files=1, task_bytes=1))
    assert await begin(db, 6, HeldAttempt(2, 0, 1, "w2"), room=FileLimits(task_files=2, task_bytes=2))
    assert await begin(db, 7, None, room=FileLimits(task_files=1, task_bytes=2)) is None
    assert await begin(db, 7, None, room=FileLimits(task_files=2, task_bytes=1)) is None


@pytest.mark.parametrize("change", ["attempt = 2", "worker_id = 'w2'", "status = 'queued', lease_expires_at = null"])
async def test_a_file_takes_no_more_once_its_attempt_does_not_run(db, change):
    await send(db)
    for number, fence in ((2, replace(W1, job=1)), (3, HeldAttempt(2, 0, 1, "w2"))):
        await send(db, number, fence)
    await raw(db, "update ado.jobs set worker_id = 'w1' where task_id = 2 and job = 0")  # as if it held that job, too
    await raw(db, f"update ado.jobs set {change} where task_id = 1 and job = 0")
    assert await changes(db, write(db)) == (False, set())
    assert await changes(db, files.complete(db, name(1))) == (False, set())


async def test_a_piece_and_a_completion_change_their_own_file_once(db):
    assert await begin(db, 1, kind="result")
    for number, fence in ((2, W1), (3, replace(W1, job=1)), (4, HeldAttempt(2, 0, 1, "w2")), (5, None), (6, None)):
        assert await begin(db, number, fence)
    for number in (1, 5):
        assert await changes(db, write(db, number)) == (True, {("piece", name(number), 0)})
        assert await changes(db, files.complete(db, name(number))) == (True, {("file", name(number))})
        assert await changes(db, write(db, number)) == (False, set())
        assert await changes(db, files.complete(db, name(number))) == (False, set())


async def test_a_file_replaces_those_of_its_job_and_kind(db):
    for number, fence, kind in (
        (1, W1, "checkpoint"), (2, W1, "result"), (3, replace(W1, job=1), "checkpoint"),
        (4, HeldAttempt(2, 0, 1, "w2"), "checkpoint"), (5, W1, "checkpoint"),
    ):  # fmt: skip
        await send(db, number, fence, kind=kind)
        assert await files.complete(db, name(number))
    rows = await raw(db, "select file_id from ado.files order by file_id")
    assert [row["file_id"] for row in rows] == [name(number) for number in (2, 3, 4, 5)]
