"""A real PgBouncer in transaction mode before a server, as a user who is not root."""

import contextlib
import os
import pwd
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from support.postgres import remove
from support.program import until

BINARY = "/usr/sbin/pgbouncer"


@contextlib.contextmanager
def pgbouncer(dsn, *, pool_size=5):
    """Run one for the block; gives the DSN through it."""
    if not Path(BINARY).exists():
        pytest.skip("the system has no PgBouncer")
    parts = conninfo_to_dict(dsn)
    place = Path(tempfile.mkdtemp(prefix="ado-bouncer-", dir="/tmp"))
    config = place / "pgbouncer.ini"
    config.write_text(
        f"""
        [databases]
        * = host={parts["host"]} port={parts.get("port") or 5432}
        [pgbouncer]
        pool_mode = transaction
        listen_addr =
        unix_socket_dir = {place}
        listen_port = 6432
        auth_type = any
        default_pool_size = {pool_size}
        max_client_conn = 200
        ignore_startup_parameters = extra_float_digits
        logfile = {place}/log
        pidfile = {place}/pid
        """.replace("        ", "").replace("* = host", f"* = user={parts['user']} host")
    )
    who = {}
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres" if _has("postgres") else "nobody")
        os.chown(place, owner.pw_uid, owner.pw_gid)
        who = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    through = f"postgresql:///{parts['dbname']}?host={place}&port=6432&user={parts['user']}"
    try:
        process = subprocess.Popen([BINARY, "-q", str(config)], cwd="/", **who)
        try:
            until(lambda: _answers(through), "PgBouncer")
            yield through
        finally:
            process.terminate()
            process.wait()
    finally:
        remove(place)


def _has(name):
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))


def _answers(dsn):
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(dsn, connect_timeout=2):
        return True
