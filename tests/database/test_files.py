"""The files that travel with a task, on a real Postgres: fences, digests, what is kept and what goes."""

import asyncio
import hashlib

import pytest
from support.postgres import LOCK_WAITS
from support.records import claim, closed, create, finish, register

from db import files, jobs, tasks
from db.model import HeldAttempt

W1 = HeldAttempt(1, 0, 1, "w1")


def name(number):
    return f"file-{number:032x}"


async def begin(db, number, content=b"x", *, kind="base", fence=None):
    return await files.begin(
        db, file_id=name(number), kind=kind, size=len(content), sha256=hashlib.sha256(content).digest(), about=None,
        fence=fence,
    )  # fmt: skip


async def send(db, number, *, kind="base", fence=None, content=b"x"):
    assert await begin(db, number, content, kind=kind, fence=fence)
    assert await files.write(db, name(number), 0, content)
    return await files.complete(db, name(number))


@pytest.fixture
async def running(db):
    """A task whose one job runs on w1."""
    task_id = await create(db)
    await register(db)
    await claim(db)
    return HeldAttempt(task_id, 0, 1, "w1")


async def ids(db, task_id):
    return [int(file.file_id.removeprefix("file-"), 16) for file in (await files.listing(db, task_id))[0]]


async def test_an_upload_resumes_and_refuses_other_content(db):
    assert await begin(db, 1, b"abc")
    assert await begin(db, 1, b"abc")
    assert await begin(db, 1, b"abd") is None
    assert await files.write(db, name(1), 0, b"a")
    assert await files.write(db, name(1), 2, b"c")
    assert await files.received(db, name(1), 3) == 1
    assert await files.write(db, name(1), 1, b"b")
    assert await files.write(db, name(1), 1, b"b")
    assert await files.received(db, name(1), 3) == 3
    assert await files.complete(db, name(1))
    assert not await files.write(db, name(1), 0, b"z")
    assert await files.read(db, name(1), 0) == b"a"


async def test_a_file_is_taken_by_one_task_and_only_when_it_is_complete(db):
    await begin(db, 1)
    assert await create(db, base_file=name(1), workspace={}) is None
    await files.write(db, name(1), 0, b"x")
    await files.complete(db, name(1))
    task_id = await create(db, base_file=name(1), workspace={})
    assert await ids(db, task_id) == [1]
    assert await create(db, base_file=name(1), workspace={}) is None
    assert await create(db, base_file=name(9), workspace={}) is None


async def test_only_the_running_attempt_writes_files(db, running):
    late = HeldAttempt(running.task_id, 0, 2, "w1")
    assert await begin(db, 1, kind="result", fence=late) is None
    assert await begin(db, 2, kind="result", fence=HeldAttempt(running.task_id, 0, 1, "w2")) is None
    assert await begin(db, 3, kind="checkpoint", fence=running)
    await jobs.end_attempts(db, [(running.task_id, 0, 1)], reason="lost", loss=True)
    assert not await files.write(db, name(3), 0, b"x")
    assert not await files.complete(db, name(3))
    assert await ids(db, running.task_id) == []


async def test_a_completion_waits_for_a_loss_under_way_and_is_then_refused(db, dsn, running):
    """The job's row is the fence: a lease lost first is lost, even if the statement began before that was committed."""
    import asyncpg

    await begin(db, 1, kind="checkpoint", fence=running)
    await files.write(db, name(1), 0, b"x")
    other = await asyncpg.connect(dsn)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("update ado.jobs set attempt = 2")
    completing = asyncio.create_task(files.complete(db, name(1)))
    while not completing.done() and not await other.fetch(LOCK_WAITS):
        await asyncio.sleep(0.01)
    await transaction.commit()
    assert not await completing
    await other.close()


async def test_only_the_latest_checkpoint_is_kept(db, running):
    for number in (1, 2, 3):
        assert await send(db, number, kind="checkpoint", fence=running)
    await send(db, 4, kind="result", fence=running)
    assert await ids(db, running.task_id) == [3, 4]
    assert await files.read(db, name(1), 0) is None
    await files.complete(db, name(1))
    assert await ids(db, running.task_id) == [3, 4]


async def test_a_checkpoint_counts_until_its_attempt_reports_its_end(db, running):
    await send(db, 1, kind="checkpoint", fence=running)
    await jobs.end_attempts(db, [(running.task_id, 0, 1)], reason="lost", loss=True)
    assert await ids(db, running.task_id) == [1]
    await claim(db)
    again = HeldAttempt(running.task_id, 0, 2, "w1")
    await send(db, 2, kind="checkpoint", fence=again)
    await send(db, 3, kind="result", fence=again)
    assert await ids(db, running.task_id) == [2, 3]  # its worker may still die before it says how it ended
    await closed(db, finish(running.task_id, "failed", attempt=2, exit_code=1))
    assert await ids(db, running.task_id) == [3]


async def test_files_that_no_caller_can_read_any_more_are_pruned(db, running):
    await send(db, 1)
    await send(db, 2, kind="result", fence=running)
    await send(db, 3, kind="checkpoint", fence=running)
    await begin(db, 4)
    assert await files.prune(db, 3600) == 0
    await closed(db, finish(running.task_id))
    assert await files.prune(db, 3600) == 1
    assert await files.get(db, name(3)) is None
    assert await files.prune(db, -1) == 2
    assert await files.get(db, name(1)) is None
    assert await files.get(db, name(2))
    await tasks.settle(db, running.task_id)


async def test_pruning_a_range_removes_its_files(db, dsn, running):
    import asyncpg

    await send(db, 1, kind="result", fence=running)
    connection = await asyncpg.connect(dsn)
    await connection.execute("update ado.log_ranges set pruned_at = now() where from_task_id = 0")
    await connection.close()
    assert await files.prune(db, 3600) == 1
    assert await files.read(db, name(1), 0) is None


async def test_files_of_an_attempt_and_of_a_task_are_bounded_in_number_and_bytes(db, running):
    room = files.FileLimits(attempt_files=2, attempt_bytes=10, task_files=3, task_bytes=100)

    async def begun(number, size, fence):
        kind = "base" if fence is None else "checkpoint"
        digest = hashlib.sha256(b"").digest()
        wish = {"file_id": name(number), "kind": kind, "size": size, "sha256": digest, "about": None, "fence": fence}
        return await files.begin(db, **wish, room=room) is not None

    assert not await begun(1, 11, running)
    assert await begun(1, 6, running)
    assert not await begun(2, 5, running)
    assert await begun(2, 4, running)
    assert await begun(2, 4, running)  # the same again goes on
    assert not await begun(3, 0, running)
    assert [await begun(number, 40, None) for number in (11, 12, 13)] == [True, True, False]
    assert [await begun(number, 0, None) for number in (14, 15)] == [True, False]
