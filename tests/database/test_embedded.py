"""The embedded Postgres under kill -9 of everybody, as root and as an ordinary user, and when there is no room."""

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from support.postgres import fast_directory, remove
from support.program import exists, until

from db.embedded import EmbeddedError, EmbeddedServer


@pytest.fixture
def place():
    directory = fast_directory()
    yield directory
    remove(directory)


def count(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create table if not exists kept (n int)")
        connection.execute("insert into kept values (1)")
        return connection.execute("select count(*) from kept").fetchone()[0]


def test_a_server_starts_stops_and_keeps_its_data(place):
    for times in (1, 2):
        server = EmbeddedServer(place / "pg")
        assert count(server.start()) == times
        assert server.alive()
        pid = server.pid
        server.stop()
        assert not exists(pid)


def test_only_the_owner_reaches_the_socket(place):
    server = EmbeddedServer(place / "pg")
    server.start()
    try:
        assert (place / "pg").stat().st_mode & 0o077 == 0
        ports = subprocess.run(["ss", "-ltnp"], capture_output=True, text=True, check=False).stdout
        assert f"pid={server.pid}," not in ports
    finally:
        server.stop()


OWNER = """
import sys, time
sys.path[:0] = {path!r}
from pathlib import Path
from db.embedded import EmbeddedServer
server = EmbeddedServer(Path({data!r}))
dsn = server.start()
print(dsn, server.pid, server._process.pid, flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def owner(data):
    """A process that owns a server: gives its Popen, the DSN, and the pids of postmaster and watchdog."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER.format(path=sys.path, data=str(data))], stdout=subprocess.PIPE
    )
    try:
        dsn, postmaster, watchdog = process.stdout.readline().split()
        yield process, dsn.decode(), int(postmaster), int(watchdog)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("victims", ["owner", "postmaster", "watchdog owner", "owner postmaster watchdog"])
def test_data_survives_a_kill_of_the_server(place, victims):
    """kill -9 of owner, postmaster, watchdog or all of them: no server is left over and no commit is lost."""
    with owner(place / "pg") as (process, dsn, postmaster, watchdog):
        assert count(dsn) == 1
        for name in victims.split():
            os.kill({"owner": process.pid, "postmaster": postmaster, "watchdog": watchdog}[name], signal.SIGKILL)
        if "owner" not in victims:
            until(lambda: not exists(postmaster))
            process.kill()
        process.wait()
        server = EmbeddedServer(place / "pg")
        try:
            assert count(server.start()) == 2
            assert not exists(postmaster)
        finally:
            server.stop()


def test_a_second_server_on_the_same_data_is_refused(place, monkeypatch):
    monkeypatch.setattr("db.embedded.server._LOCK_SECONDS", 0.2)
    server = EmbeddedServer(place / "pg")
    server.start()
    try:
        with pytest.raises(EmbeddedError, match=f"another server uses .*pid {server.pid}") as caught:
            EmbeddedServer(place / "pg").start()
        assert "ado down" in caught.value.next_step
        assert server.alive()
    finally:
        server.stop()


def test_a_stale_pid_file_with_a_reused_pid_does_not_prevent_a_start(place):
    server = EmbeddedServer(place / "pg")
    server.start()
    server.stop()
    (place / "pg" / "postmaster.pid").write_text(f"{os.getpid()}\n{place / 'pg'}\n1\n5432\n\n\n\n\n")
    again = EmbeddedServer(place / "pg")
    try:
        assert count(again.start()) == 1
    finally:
        again.stop()


def test_a_long_path_gets_a_short_socket_that_stays_the_same_over_a_restart(place):
    deep = place / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    server = EmbeddedServer(deep / "pg")
    try:
        dsn = server.start()
        assert count(dsn) == 1
        server.stop()
        assert server.start() == dsn
        assert count(dsn) == 2
    finally:
        server.stop()
    directory = Path(conninfo_to_dict(dsn)["host"])
    assert directory.is_relative_to(tempfile.gettempdir())
    assert not directory.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_reported_with_the_next_step(place):
    small = place / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", small], check=False)
    assert mounted.returncode == 0
    try:
        with pytest.raises(EmbeddedError, match="disk is full") as caught:
            EmbeddedServer(small / "pg").start()
        assert "free some space" in caught.value.next_step
    finally:
        subprocess.run(["umount", "-l", small], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root steps down")
def test_root_runs_the_server_as_another_user(place):
    server = EmbeddedServer(place / "pg")
    server.start()
    try:
        owner_id = Path(f"/proc/{server.pid}").stat().st_uid
        assert pwd.getpwuid(owner_id).pw_name in ("postgres", "nobody")
    finally:
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user to reach its files")
def test_a_directory_without_access_for_the_server_user_is_reported(place):
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match="cannot reach") as caught:
        EmbeddedServer(closed / "pg").start()
    assert "ADO_HOME" in caught.value.next_step


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_runs_the_server_without_a_change_of_user(place):
    somebody = pwd.getpwnam("nobody")
    own = place / "own"
    own.mkdir()
    os.chown(own, somebody.pw_uid, somebody.pw_gid)
    script = OWNER.format(path=sys.path, data=str(own / "pg")).replace("time.sleep(60)", "server.stop()")
    reachable = all(part.stat().st_mode & 0o001 for part in Path(sys.executable).resolve().parents)
    python = sys.executable if reachable else "/usr/bin/python3"
    done = subprocess.run(
        [python, "-c", script],
        user=somebody.pw_uid,
        group=somebody.pw_gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "postgresql:///" in done.stdout


def test_the_owner_of_the_database_is_not_a_superuser(place):
    """The owner can run no program as the server, cannot make itself a superuser, and owns its database."""
    server = EmbeddedServer(place / "pg")
    try:
        with psycopg.connect(server.start(), autocommit=True) as connection:
            refused = [
                "copy (select 1) to program 'true'",
                "select pg_read_file('/etc/passwd')",
                "alter role ado superuser",
                "grant pg_execute_server_program to ado",
                "alter system set archive_command = 'true'",
                "set role postgres",
            ]
            for statement in refused:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
            connection.execute("create role made_by_owner login in role ado_readonly")
            connection.execute("create schema ado")
        with psycopg.connect(server.superuser_dsn) as connection:
            assert connection.execute("show is_superuser").fetchone() == ("on",)
    finally:
        server.stop()


def test_an_interrupted_creation_is_repeated(place):
    """A directory left by a crash between initdb and the owner's role is no database."""
    (place / "pg.new").mkdir()
    (place / "pg.new" / "PG_VERSION").write_text("18\n")
    server = EmbeddedServer(place / "pg")
    try:
        assert count(server.start()) == 1
    finally:
        server.stop()
    assert not (place / "pg.new").exists()


@pytest.mark.parametrize("name", ["two words", "comma, and more", "50%20'é?&#+;"])
def test_a_path_may_hold_any_character(place, name):
    server = EmbeddedServer(place / name / "pg")
    try:
        assert count(server.start()) == 1
    finally:
        server.stop()
