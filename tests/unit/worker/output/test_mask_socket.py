"""Registering a value: it is masked once the answer is there, and hostile senders cost nothing."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from worker.output.mask_socket import VARIABLE, registrar
from worker.output.masking import Masker, Secrets


async def ask(path, data, *, end=True):
    directory = os.open(Path(path).parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        connection.connect(f"/proc/self/fd/{directory}/{Path(path).name}")
        os.close(directory)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, data)
        if end:
            connection.shutdown(socket.SHUT_WR)
            return (await loop.sock_recv(connection, 1000)).decode().strip()
    return None


@pytest.fixture
def base(tmp_path):
    """A directory whose name is longer than the address of a socket may be."""
    found = tmp_path / ("long" * 30)
    found.mkdir()
    return found


async def test_a_value_is_masked_once_the_answer_is_there(base):
    secrets = Secrets(["known-before"])
    masker = Masker(secrets)
    async with registrar(base, lambda: secrets) as named:
        assert masker.feed(b"the-value known-before\n") == b"the-value ***\n"
        assert await ask(named[VARIABLE], b"the-value") == "ok"
        assert masker.feed(b"the-value known-before\n") == b"*** ***\n"
        assert await ask(named[VARIABLE], b"\xff\xfe any bytes \0") == "ok"
        assert masker.feed(b"<\xff\xfe any bytes \0>\n") == b"<***>\n"


async def test_a_value_that_cannot_be_masked_is_refused_with_the_reason(base):
    secrets = Secrets()
    async with registrar(base, lambda: secrets) as named:
        assert "shorter than 6 bytes" in await ask(named[VARIABLE], b"")
        assert "shorter than 6 bytes" in await ask(named[VARIABLE], b" a b c \n")
        assert "longer than 131072 bytes" in await ask(named[VARIABLE], b"x" * 131_073)
        assert await ask(named[VARIABLE], b"x y" * 40_000) == "ok"


async def test_many_senders_and_broken_ones_do_not_affect_others(base):
    secrets = Secrets()
    async with registrar(base, lambda: secrets) as named:
        for _ in range(20):
            await ask(named[VARIABLE], b"half a val", end=False)
        values = [f"value-number-{number}".encode() for number in range(50)]
        assert set(await asyncio.gather(*(ask(named[VARIABLE], value) for value in values))) == {"ok"}
        assert secrets.mask(b" ".join(values)) == b" ".join([b"***"] * 50)
