"""A command of the job that waits for a person: the worker knows for as long as the question and the command last."""

import asyncio
from pathlib import Path

import pytest

from cli.job_socket import connect
from worker.job_sockets import VARIABLE, ask_socket
from worker.questions import Questions


@pytest.fixture
async def questions(tmp_path):
    made = Questions(None, {})
    async with ask_socket(tmp_path, made) as named:
        made.path = Path(named[VARIABLE])
        yield made


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def begin(questions, data=b"question-1\n"):
    connection = connect(questions.path, 5)
    connection.sendall(data)
    return connection


async def test_a_command_counts_until_it_ends_or_its_question_does(questions):
    with begin(questions):
        await until(lambda: questions.are_open)
    await until(lambda: not questions.are_open)
    with begin(questions):
        await until(lambda: questions.are_open)
        questions.settle({"questionId": "question-1", "state": "answered"})
        assert not questions.are_open  # a hold between the answer and the end of the command would lose the answer
        with begin(questions), begin(questions, b"question-2\n"):
            await until(lambda: questions.are_open)
        await until(lambda: not questions.are_open)


async def test_many_connections_and_broken_ones_keep_no_job_waiting(questions):
    for data in (b"", b"\xff\n", b"x" * 200_000, b"\n"):
        with begin(questions, b""), begin(questions, data):
            pass
    many = [begin(questions, b"question-%d\n" % number) for number in range(40)]
    await until(lambda: questions.are_open)
    refused = [connection for connection in many if await asyncio.to_thread(is_closed, connection)]
    for connection in many:
        connection.close()
    assert 24 <= len(refused) < 40  # of the first ones some may not have ended yet
    await until(lambda: not questions.are_open)


def is_closed(connection):
    """Whether the worker has hung up; one that it keeps says nothing."""
    connection.settimeout(0.5)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True
