"""The run book: its alarms, its commands, and a backup that was restored as it says."""

import contextlib
import os
import re
import shlex
import subprocess

import psycopg
import pytest
import yaml
from support.postgres import execute, system_bindirs
from support.program import Cluster
from support.rendering import DEPLOY

from cli.app import build
from db.migrate import migrate

BOOK = (DEPLOY / "README.md").read_text()
BLOCKS = [re.sub(r"^ +", "", block, flags=re.MULTILINE) for block in re.findall(r"```sh\n(.*?)```", BOOK, re.DOTALL)]
SQL_BLOCKS = re.findall(r"```sql\n(.*?)```", BOOK, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.replace("\\\n", "").splitlines()]


def test_every_alarm_has_its_section():
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
    alarms = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert re.findall(r"^### (Ado\w+)$", BOOK, re.MULTILINE) == alarms


def test_every_file_it_names_exists():
    for name in re.findall(
        r"deploy/(?!ado-)[\w./-]+|(?<=`)(?:kubernetes|overlays|proxy|prometheus|grafana)/[\w./-]*", BOOK
    ):
        path = name.removeprefix("deploy/").replace("overlays/mine", "overlays/example")
        assert (DEPLOY / path).exists(), name


def test_every_setting_it_names_exists():
    table = (DEPLOY / "CONFIGURATION.md").read_text()
    known = set(re.findall(r"^\| `(ADO_\w+)` \|", table, re.MULTILINE))
    assert set(re.findall(r"ADO_[A-Z_]+", BOOK)) <= known


def test_every_command_it_names_exists():
    commands = [match[1] for line in LINES if (match := re.search(r"(?:^|-- |\" )ado ([a-z].*)$", line))]
    assert len(commands) >= 6
    app = build()
    for command in commands:
        app.parse_args(shlex.split(command), print_error=False, exit_on_error=False)


def as_user(dsn, user, database):
    return f"{dsn.partition('/postgres?')[0]}/{database}?{dsn.partition('?')[2]}".replace(
        "user=postgres", f"user={user}"
    )


@pytest.fixture
def installed(system_server):
    """Roles and databases as the run book makes them, and one more database to restore into."""
    block = SQL_BLOCKS[0]
    for statement in filter(str.strip, block.split(";")):
        with contextlib.suppress(psycopg.errors.DuplicateObject):  # roles belong to the server
            execute(system_server, statement)
    execute(system_server, "create database ado_new owner ado_owner")
    names = {"old": "ado", "new": "ado_new"}
    yield {
        which: (as_user(system_server, "ado_owner", n), as_user(system_server, "ado_app", n))
        for which, n in names.items()
    }
    for name in names.values():
        execute(system_server, f'drop database "{name}" with (force)')


def commanded(program, directory, **env):
    """Run the run book's lines that use a program, with the system's tools."""
    lines = [line for line in LINES if program in line]
    assert lines
    path = f"{system_bindirs()[0]}:{os.environ['PATH']}"
    for line in lines:
        done = subprocess.run(
            ["sh", "-ec", line],
            cwd=directory,
            env={**os.environ, **env, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (line, done.stderr)


@pytest.mark.timeout(300)
def test_a_backup_restored_by_the_run_book_has_every_task_log_and_token(installed, home):
    """All of it with the run book's roles: the owner migrates, dumps and restores, the other one serves."""
    owner, app = installed["old"]
    migrate(owner)
    before = Cluster(app, home)
    try:
        before.add_replicas(2).add_worker("w1")
        written = before.ado("run", "--remote", "--agent", "shell", "head -c 100000 /dev/urandom", check=0).stdout
        before.ado("run", "--remote", "--detach", "--wait-for-agent", "--agent", "nobody-offers-this", "x", check=0)
        commanded("pg_dump", home, OWNER_DSN=owner)
        before.ado("run", "--remote", "--agent", "shell", "echo after the dump", check=0)
    finally:
        before.close()
    owner, app = installed["new"]
    commanded("pg_restore", home, NEW_OWNER_DSN=owner)
    restored = home / "restored"
    restored.mkdir()
    after = Cluster(app, restored)
    after.token = before.token
    try:
        after.add_replicas(2).add_worker("w1")
        assert after.ado("logs", "task-1", "--raw", check=0).stdout == written
        assert after.task("task-2")["status"] == "queued"
        done = after.ado("run", "--remote", "--agent", "shell", "-o", "name", "exit 7", check=7)
        assert b"task-3" in done.stdout + done.stderr
    finally:
        after.close()


@pytest.fixture
def anna(dsn):
    """A person's login, made as the run book says."""
    _install, recipe = SQL_BLOCKS
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(recipe.encode())
    yield dsn.replace("user=postgres", "user=ado_anna")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("drop role ado_anna")


def test_the_login_of_a_person_reads_views_only_and_changes_nothing(dsn, anna):
    with psycopg.connect(dsn) as connection:
        kinds = connection.execute(
            "select relname, relkind::text from pg_class"
            " where relnamespace = 'ado'::regnamespace and relkind in ('v', 'r')"
        ).fetchall()
    with psycopg.connect(anna, autocommit=True) as connection:
        assert connection.execute("show statement_timeout").fetchone() == ("30s",)
        for name, kind in kinds:
            if kind == "v":
                connection.execute(f'select * from ado."{name}" limit 1')
                continue
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f'select * from ado."{name}" limit 1')
        connection.execute("set default_transaction_read_only = off")
        for statement in (
            "update ado.jobs set priority = 1",
            "truncate ado.events",
            "create table ado.mine (x integer)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
