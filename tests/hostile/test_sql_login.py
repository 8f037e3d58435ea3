"""A login of the database that is not its owner: what it may not read, change, run or break."""

import psycopg
import pytest
from support.program import until

from db.listener import CHANNEL

LOGINS = ["ado_api", "ado_readonly"]
MORE_RIGHTS = [
    "set role postgres",
    "alter role {login} superuser",
    "grant pg_read_server_files to {login}",
    "create role mine login",
    "create extension dblink",
    "create schema mine",
    "create table ado.mine (x integer)",
    "create function ado.mine() returns integer language sql as 'select 1'",
    "create or replace function ado.remove_task(bigint) returns text language sql as 'select 1::text'",
    "alter function ado.prune_audit(double precision) reset search_path",
    "alter function ado.remove_task(bigint) owner to {login}",
    "alter table ado.tokens disable trigger all",
    "drop schema ado cascade",
    "copy (select 1) to program 'id'",
    "copy ado.audit to '/tmp/audit'",
    "select pg_read_file('/etc/passwd')",
    "select lo_import('/etc/passwd')",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename <> current_user",
    "alter system set log_statement = 'all'",
    "set log_statement = 'all'",
    "set session_replication_role = replica",
]
SECRETS = [
    "select digest from ado.tokens",
    "select environment, sealed from ado.task_environments",
    "select data from ado.events",
    "select value from ado.task_values",
    "select data from ado.file_chunks",
    "select token_digest from ado.jobs",
    "select prompt from ado.tasks",
    "select address from ado.audit",
]
CHANGES = [
    "insert into ado.tokens (token_id, digest, role) values ('tok-mine', sha256('x'), 'admin')",
    "update ado.tokens set role = 'admin'",
    "update ado.jobs set status = 'succeeded'",
    "delete from ado.tasks",
    "truncate ado.events",
    "insert into ado.audit (procedure) values ('tasks.create')",
    "begin; lock table ado.tasks in access exclusive mode",
    "begin; lock table ado.jobs in row exclusive mode",
]


@pytest.fixture
def login(dsn):
    """Connect as one of the ordinary logins, after there is something to read."""
    connections = []

    def connect(name):
        connection = psycopg.connect(dsn, autocommit=True)
        connections.append(connection)
        connection.execute("insert into ado.audit (procedure, target) values ('tasks.create', 'task-1')")
        connection.execute(f"set session authorization {name}")
        return connection

    yield connect
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("statement", MORE_RIGHTS)
@pytest.mark.parametrize("name", LOGINS)
def test_a_login_cannot_gain_rights(login, name, statement):
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue)):
        login(name).execute(statement.format(login=name))


@pytest.mark.parametrize("statement", SECRETS)
def test_a_reader_sees_no_secret_and_no_content(login, statement):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        login("ado_readonly").execute(statement)


@pytest.mark.parametrize("statement", CHANGES)
def test_a_reader_can_neither_change_nor_lock(login, statement):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        login("ado_readonly").execute(statement)


def test_a_reader_does_not_learn_on_which_channel_events_travel(cluster, login):
    """Neither by the table, nor by what it sees of the sessions that listen, nor in an answer of the API."""
    with psycopg.connect(cluster.dsn, autocommit=True) as connection:
        (channel,) = connection.execute("select name from ado.live_channel").fetchone()
        ours = "datname = current_database() and application_name = 'ado-listen'"  # the server has other databases too
        listening = f"select count(*) from pg_stat_activity where {ours}"
        until(lambda: connection.execute(listening).fetchone() == (len(cluster.urls),), "each replica to listen")
    reader = login("ado_readonly")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("select name from ado.live_channel")
    seen = reader.execute("select query from pg_stat_activity").fetchall()
    assert channel not in str(seen)
    assert channel not in str(reader.execute("select pg_listening_channels()").fetchall())


def test_notifications_of_a_reader_have_no_effect(cluster):
    """Every login may notify every channel; what it says is a hint that may be wrong."""
    cluster.add_worker("w1")
    payloads = ["", "\x01", "e", "e:", "e:x:y", "e:1:99999999999999999999", "q:-1", "w:" + "x" * 7900, "{}", "é" * 3000]
    with psycopg.connect(cluster.dsn, autocommit=True) as connection:
        connection.execute("set session authorization ado_readonly")
        for payload in payloads:
            connection.execute("select pg_notify(%s, %s)", [CHANNEL, payload])
    done = cluster.ado("run", "--remote", "--agent", "shell", "echo hello; exit 7", check=7)
    assert done.stdout == b"hello\n"
    until(lambda: cluster.task("task-1")["status"] == "failed", "task-1 to end")
