"""Whose input is stored, read and taken, what is dropped of it, and who may say that it is lost."""

from dataclasses import replace

import pytest
from support.fences import DIGEST, changes, log, raw
from support.records import closed, finish

from db import inputs, tokens
from db.inputs import Progress
from db.model import HeldAttempt

W1 = HeldAttempt(1, 0, 1, "w1", None)
INPUT = ("input", "1", 0)


@pytest.fixture(autouse=True)
async def stored(db, world):
    """Three jobs of two tasks have input, of which six bytes have come in two pieces."""
    for key in ((1, 0), (1, 1), (2, 0)):
        await raw(db, "insert into ado.inputs (task_id, job) values ($1, $2)", *key)
        assert await store(db, 0, b"abc", key=key) == Progress(3, False)
        assert await store(db, 3, b"def", key=key) == Progress(6, False)


def store(db, offset, data, *, key=(1, 0), end=False, alive=False, limit=100):
    return inputs.store(db, *key, offset=offset, data=data, end=end, alive=alive, waiting_limit=limit)


def take(db, offset, reader=W1, *, keep=100):
    return inputs.take(db, reader, offset=offset, keep_limit=keep)


async def test_new_bytes_go_to_their_own_job(db):
    assert await changes(db, store(db, 4, b"efg")) == (Progress(7, False), {INPUT, ("input from 6", "1", 0)})
    assert await inputs.read(db, 1, 0, offset=0, byte_limit=100) == b"abcdefg"
    assert await changes(db, store(db, 0, b"x", key=(2, 1))) == (None, set())  # this job takes none


async def test_old_bytes_and_bytes_after_a_gap_change_nothing(db):
    for offset, data in ((0, b"abc"), (3, b"def"), (6, b""), (7, b"h"), (9, b"")):
        for end in {False, offset not in (3, 6)}:
            assert await changes(db, store(db, offset, data, end=end)) == (Progress(6, False), set())


async def test_the_end_comes_once_and_only_after_every_byte(db):
    assert (await store(db, 6, b"ghi", end=True, limit=8)) == Progress(8, False)
    assert await changes(db, store(db, 8, b"", end=True)) == (Progress(8, True), {INPUT})
    assert await changes(db, store(db, 8, b"i", end=True, alive=True)) == (Progress(8, True), set())


async def test_a_sign_of_life_is_counted_without_bytes(db):
    assert (await changes(db, store(db, 6, b"", alive=True)))[1] == {INPUT}
    assert (await take(db, 0)).beats == 1


@pytest.mark.parametrize("wrong", [{"task_id": 2}, {"job": 2}, {"attempt": 2}, {"worker_id": "w2"}])
async def test_input_is_taken_by_the_running_attempt(db, wrong):
    await raw(db, "insert into ado.inputs (task_id, job, received) values (1, 2, 6)")
    assert await changes(db, take(db, 2, replace(W1, **wrong))) == (None, set())
    assert await changes(db, take(db, 2)) == (Progress(6, False), {INPUT})
    assert await changes(db, take(db, 2)) == (Progress(6, False), set())
    await raw(db, "update ado.jobs set status = 'queued', lease_expires_at = null where task_id = 1 and job = 0")
    assert await changes(db, take(db, 3)) == (None, set())


async def test_input_is_taken_with_the_credential_of_the_attempt(db):
    await raw(db, "update ado.jobs set credential_digest = $1 where task_id = 1 and job = 0", DIGEST)
    for wrong in (None, tokens.digest("other")):
        assert await changes(db, take(db, 2, replace(W1, credential=wrong))) == (None, set())
    assert await take(db, 2, replace(W1, credential=DIGEST))


async def test_taken_input_is_dropped_by_whole_pieces_beyond_what_is_kept(db):
    assert await changes(db, take(db, 6, keep=1)) == (Progress(6, False), {INPUT, ("input from 0", "1", 0)})
    for offset in (0, 4, 7):  # gone, gone, not there yet
        assert await changes(db, take(db, offset)) == (None, set())
    assert (await changes(db, take(db, 5)))[1] == {INPUT}


async def test_pieces_are_read_from_an_offset_of_their_own_job(db):
    await raw(db, "update ado.input_chunks set data = 'xyz', begins_at = begins_at + 1 where (task_id, job) <> (1, 0)")
    await raw(db, "delete from ado.input_chunks where (task_id, job) = (2, 0) and begins_at = 1")
    for offset, limit, data in ((0, 9, b"abcdef"), (2, 2, b"c"), (4, 9, b"ef"), (3, 2, b"de"), (6, 9, b"")):
        assert await inputs.read(db, 1, 0, offset=offset, byte_limit=limit) == data
    rows = await db.many("read_input", task_id=1, job=0, offset=3, byte_limit=100)
    assert [row["begins_at"] for row in rows] == [3]
    assert len(await db.many("read_input", task_id=1, job=0, offset=0, byte_limit=3)) == 1


async def test_a_running_attempt_says_once_that_its_input_is_lost(db):
    for wrong in ({"task_id": 9}, {"attempt": 2}, {"task_id": 2, "job": 1}):
        assert (await changes(db, inputs.lose(db, replace(W1, **wrong))))[1] == set()
    assert (await changes(db, inputs.lose(db, W1)))[1] == {INPUT, ("log", "1")}
    assert (await changes(db, inputs.lose(db, W1)))[1] == set()
    assert (await log(db, 1))[-1] == ("input_lost", 0)
    await closed(db, finish(1, "released", job=1))
    assert (await changes(db, inputs.lose(db, replace(W1, job=1))))[1] == set()
