"""Commands whose database cannot be used."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("command", "dsn", "message"),
    [
        (["token", "list"], "nonsense", "the DSN cannot be read"),
        (["db", "check"], "nonsense", "the DSN cannot be read"),
        (["token", "create", "--role", "admin"], "postgresql:///x?host=/nowhere", "cannot connect to the database"),
        (["token", "list"], None, "the database is at migration 0"),
        (["token", "revoke", "tok-1"], None, "the database is at migration 0"),
    ],
)
def test_a_database_that_cannot_be_used_is_two_lines(tmp_path, empty_dsn, command, dsn, message):
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli", *command, "--dsn", dsn or empty_dsn],
        env={"PATH": os.defpath, "ADO_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 125
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 2
