"""Two servers behind one DSN, of which one takes writes: a failover moves every connection, whatever its driver."""

import asyncio

import psycopg
import pytest
from support.postgres import remove, start_server
from support.program import until
from support.records import create

from db import tasks
from db.connect import run
from db.database import Database
from db.dsn import session_options
from db.errors import DatabaseReadOnly, DatabaseUnavailable
from db.health import check_writes
from db.listener import Listener
from db.migrate import migrate
from db.sync_database import SyncPool


class Host:
    """One server, whose sessions write or do not."""

    def __init__(self, name):
        self.name = name
        self.server, self.directory, self.dsn = start_server()
        migrate(self.dsn)
        self.run(f"create table which as select '{name}' as name")
        self.run("grant select on which to public")

    def run(self, *statements):
        with psycopg.connect(self.server.superuser_dsn, autocommit=True) as connection:
            connection.execute("set default_transaction_read_only = off")
            for statement in statements:
                connection.execute(statement.encode())

    def take_writes(self, yes):
        value = "off" if yes else "on"
        self.run(f"alter system set default_transaction_read_only = {value}", "select pg_reload_conf()")

    def close(self):
        self.server.stop()
        remove(self.directory)


@pytest.fixture(scope="module")
def servers():
    made = [Host("a"), Host("b")]
    yield made
    for host in made:
        host.close()


@pytest.fixture
def hosts(servers):
    """The first takes writes, the second does not; no session is left from the test before."""
    for host, writes in zip(servers, (True, False), strict=True):
        host.take_writes(writes)
        host.run(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where backend_type = 'client backend' and pid <> pg_backend_pid()"
        )
    return servers


def dsn_of_both(hosts):
    places = ",".join(str(host.dsn.partition("host=")[2].partition("&")[0]) for host in hosts)
    return f"postgresql:///postgres?host={places}&user=ado"


async def where(db):
    return (await db._pool.fetch("select name from which, pg_sleep(0.05)"))[0]["name"]


async def everywhere(db):
    """Return where all the connections of a pool lead."""
    return set(await asyncio.gather(*(where(db) for _ in range(5))))


def fail_over(hosts):
    first, second = hosts
    first.take_writes(False)
    second.take_writes(True)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_the_host_that_accepts_writes_is_used(hosts, order):
    db = await Database.open(dsn_of_both([hosts[index] for index in order]), size=5)
    try:
        assert await everywhere(db) == {"a"}
        await check_writes(db)
    finally:
        await db.close()


async def test_the_demoted_server_is_not_read_after_a_failover(hosts):
    """The connection is open and was not closed by the server, and the statement only reads."""
    db = await Database.open(dsn_of_both(hosts), size=5)
    try:
        assert await everywhere(db) == {"a"}
        fail_over(hosts)
        await asyncio.to_thread(until, lambda: shown(hosts[0]) == "on", "the first host to be demoted")
        assert await everywhere(db) == {"b"}
        task_id = await create(db)
        found = await asyncio.gather(*(tasks.get(db, task_id) for _ in range(10)))
        assert {task.task_id for task in found} == {task_id}
    finally:
        await db.close()


def shown(host):
    with psycopg.connect(host.dsn) as connection:
        return connection.execute("show default_transaction_read_only").fetchone()[0]


async def test_the_database_is_unavailable_until_a_host_accepts_writes(hosts):
    db = await Database.open(dsn_of_both(hosts), size=5)
    try:
        await everywhere(db)
        hosts[0].take_writes(False)
        await asyncio.to_thread(until, lambda: shown(hosts[0]) == "on", "the first host to be demoted")
        with pytest.raises(DatabaseUnavailable):
            await create(db)
        with pytest.raises(DatabaseUnavailable):
            await tasks.get(db, 1)
        hosts[1].take_writes(True)
        async with asyncio.timeout(60):
            while True:
                try:
                    assert await create(db)
                    break
                except DatabaseUnavailable:
                    await asyncio.sleep(0.1)
        assert await everywhere(db) == {"b"}
    finally:
        await db.close()


async def test_a_single_host_that_takes_no_writes_still_answers_what_is_read(hosts):
    host = hosts[0]
    db = await Database.open(host.dsn, size=3)
    try:
        task_id = await create(db)
        host.take_writes(False)
        await asyncio.to_thread(until, lambda: shown(host) == "on", "the host to be demoted")
        for _ in range(5):
            assert (await tasks.get(db, task_id)).task_id == task_id
            with pytest.raises(DatabaseReadOnly):
                await create(db)
            with pytest.raises(DatabaseReadOnly):
                await check_writes(db)
        host.take_writes(True)
        await asyncio.to_thread(until, lambda: shown(host) == "off", "the host to be promoted")
        async with asyncio.timeout(60):
            while True:
                try:
                    assert await create(db)
                    break
                except DatabaseReadOnly:
                    await asyncio.sleep(0.1)
        await check_writes(db)
    finally:
        await db.close()


async def test_the_listener_moves_to_the_server_that_takes_writes(hosts):
    heard, gaps = [], []
    listener = Listener(dsn_of_both(hosts), heard.extend, lambda: gaps.append(1), check_seconds=0.2)
    listening = asyncio.create_task(listener.run())
    try:
        async with asyncio.timeout(60):
            while not gaps:
                await asyncio.sleep(0.01)
            fail_over(hosts)
            while "from b" not in heard:
                hosts[1].run("select pg_notify('ado', 'from%20b')")
                await asyncio.sleep(0.05)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def test_the_connections_of_a_spawner_move_to_the_new_server(hosts):
    pool = SyncPool(dsn_of_both(hosts), size=2)
    pool.open()

    def place():
        with pool.transaction() as connection:
            return connection.execute("select name from which").fetchone()["name"]

    def writes():
        try:
            with pool.transaction() as connection:
                return run(connection, "commit_something", durable=False)
        except DatabaseReadOnly:
            return False

    try:
        assert place() == "a"
        fail_over(hosts)
        until(lambda: shown(hosts[0]) == "on", "the first host to be demoted")
        until(writes, "a write")
        assert place() == "b"
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("dsn", "chosen"),
    [
        ("postgresql://u@one,two/ado", True),
        ("postgresql:///ado?host=/one,/two", True),
        ("host=one,two dbname=ado", True),
        ("postgresql://u@one:1,two:2/ado?target_session_attrs=any", False),
        ("postgresql://u@one/ado", False),
        ("not a dsn", False),
    ],
)
def test_the_host_is_chosen_only_for_several_hosts_without_target_session_attrs(dsn, chosen):
    assert session_options(dsn) == ({"target_session_attrs": "read-write"} if chosen else {})
