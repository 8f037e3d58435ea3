"""Files: one file to a replica and back from another one, as bodies and as the calls of older clients."""

import asyncio
import hashlib
import os
import time
from pathlib import Path
from unittest import mock

import psycopg

from app.rpc.client import HttpClient, Transfer
from tests.bench.figures import Figure
from tests.bench.stage import Stage, main

_PIECE = 1024 * 1024


async def measure(stage: Stage) -> list[Figure]:
    """The floors are one insert for each piece, each committed, and one select for each piece, on a bare table."""
    return await asyncio.to_thread(_measure, stage)


def _measure(stage: Stage) -> list[Figure]:
    count = stage.pick(64, 2)
    with stage.cluster(2) as cluster:
        source, target = cluster.home / "source", cluster.home / "target"
        source.write_bytes(os.urandom(count * _PIECE))
        insert, select = _floor(cluster.dsn, source, count)
        sending, receiving = (HttpClient([url], cluster.token) for url in cluster.urls)
        figures = []
        for name, base in (("bodies", "/files"), ("calls", "/no-bodies")):
            with mock.patch("app.rpc.client.files._target", lambda file_id, base=base: f"{base}/{file_id}"):
                began = time.monotonic()
                file_id = Transfer(sending, patience=10, limit=1 << 30).send(source, kind="base")
                sent = time.monotonic()
                digest = hashlib.sha256(source.read_bytes()).hexdigest()
                file = {"fileId": file_id, "size": count * _PIECE, "sha256": digest}
                fetching = time.monotonic()
                Transfer(receiving, patience=10, limit=1 << 30).fetch(file, target)
                fetched = time.monotonic()
            figures.append(Figure(f"{count} MiB to a replica, {name}", sent - began, "s", insert))
            figures.append(Figure(f"{count} MiB from a replica, {name}", fetched - fetching, "s", select))
        sending.close()
        receiving.close()
    return figures


def _floor(dsn: str, source: Path, count: int) -> tuple[float, float]:
    with psycopg.connect(dsn, autocommit=True) as connection, source.open("rb") as file:
        connection.execute("create table floor (number integer primary key, data bytea not null)")
        connection.execute("alter table floor alter data set storage external")
        began = time.monotonic()
        for number in range(count):
            connection.execute("insert into floor values (%s, %s)", (number, file.read(_PIECE)))
        inserted = time.monotonic()
        for number in range(count):
            connection.execute("select data from floor where number = %s", (number,), binary=True).fetchone()
        return inserted - began, time.monotonic() - inserted


if __name__ == "__main__":
    main(measure)
