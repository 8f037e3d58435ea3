"""Commands whose database cannot be used."""

import os
import subprocess
import sys

import pytest
from psycopg.conninfo import make_conninfo


@pytest.mark.parametrize(
    ("command", "dsn", "message"),
    [
        (["token", "list"], "nonsense", "the DSN cannot be read"),
        (["db", "check"], "nonsense", "the DSN cannot be read"),
        (["token", "create", "--role", "admin"], "postgresql:///x?host=/nowhere", "check that Postgres runs"),
        (["token", "list"], None, "the database is at migration 0"),
        (["token", "revoke", "tok-1"], None, "the database is at migration 0"),
    ],
)
def test_an_unusable_database_gives_an_error_of_two_lines(tmp_path, empty_dsn, command, dsn, message):
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli", *command, "--dsn", dsn or empty_dsn],
        env={"PATH": os.defpath, "ADO_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 125
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_refused_login_is_not_reported_as_an_unreachable_server(tmp_path, empty_dsn):
    dsn = make_conninfo(empty_dsn, dbname="there_is_none")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli", "db", "check", "--dsn", dsn],
        env={"PATH": os.defpath, "ADO_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 125
    assert "check user, password and database" in done.stderr
