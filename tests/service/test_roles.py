"""A whole plane whose replicas and spawner log in as a user that has ``ado_api`` and nothing else."""

import os
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from support.program import Cluster, until


@pytest.fixture
def restricted(dsn, home):
    """Two replicas and a spawner with the replicas' rights alone."""
    name = f"ado_login_{os.getpid()}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login in role ado_api").format(sql.Identifier(name)))
        info = connection.info
        base = f"postgresql://{name}@/{info.dbname}?host={quote(info.host)}&port={info.port}"
    made = Cluster(base, home)
    try:
        yield made.add_replicas(2)
    finally:
        made.close()
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def test_replicas_and_spawner_work_with_their_roles_alone(restricted):
    ado = restricted.ado
    spawner = restricted.start("spawner", "--url", restricted.urls[0], "--work-dir", str(restricted.home / "work"))
    assert ado("run", "--remote", "--agent", "shell", "--env", "A=b", "echo $A; exit 3", check=3).stdout == b"b\n"
    ado("retry", "task-1", check=0)
    until(lambda: restricted.task("task-1")["status"] == "failed", "task-1 to fail again")
    ado("run", "--remote", "--detach", "--agent", "shell", "sleep 60", check=0)
    until(lambda: restricted.task("task-2")["status"] == "running", "task-2 to run")
    ado("cancel", "task-2", check=0)
    ado("wait", "task-2", check=1)
    ado("workers", "scale", "1", check=0)
    ado("workers", "status", check=0)
    ado("token", "create", "--role", "viewer", "-o", "name", check=0)
    ado("doctor", check=0)
    assert spawner.poll() is None
    for log in restricted.home.glob("*.log"):
        assert "permission denied" not in log.read_text(), log
        assert "InsufficientPrivilege" not in log.read_text(), log
