"""Who may do what: every procedure for every role, tokens bound to a worker or an attempt, and their ends."""

import asyncio
import contextlib
import http.client
import json
from urllib.parse import quote

import pytest
from support.program import until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app.access.auth import CACHE_SECONDS
from app.procedures.table import registry
from app.rpc.server.gate import WireLimits
from db import tokens

READ = {
    "tasks.get", "tasks.list", "tasks.messages", "workers.list", "workers.status",
    "stream.taskEvents", "stream.taskOutput", "stream.taskProgress", "stream.systemEvents", "system.health",
    "users.whoami", "questions.list", "stats.series", "tasks.search",
}  # fmt: skip
READ_VALUES = {"tasks.kvGet", "tasks.kvList"}
WRITE_VALUES = {"tasks.kvSet", "tasks.kvCas"}
RUN_TASKS = {
    "tasks.create", "tasks.cancel", "tasks.retry", "tasks.update", "tasks.remove", "tasks.input", "tasks.send",
    "tasks.pause", "tasks.resume", "tasks.pick", "questions.answer", "notifications.add", "notifications.list",
    "notifications.remove", "notifications.test", "templates.save", "templates.get", "templates.list",
    "templates.remove", "schedules.add", "schedules.list", "schedules.pause", "schedules.resume", "schedules.remove",
}  # fmt: skip
OPERATE = {
    "workers.drain", "workers.scale", "workers.autoscale", "workers.autoscaleRemove", "workers.resetAgent",
    "system.measure",
}  # fmt: skip
ASK = {"tasks.ask", "tasks.answer"}
WORK = {
    "workers.register",
    "workers.heartbeat",
    "workers.claim",
    "workers.append",
    "workers.finish",
    "workers.messages",
    "workers.delivered",
    "workers.ask",
    "workers.commands",
    "workers.input",
}
READ_FILES = {"files.list", "files.read"}
WRITE_FILES = {"files.begin", "files.write", "files.commit"}
SESSIONS = {"sessions.code", "sessions.end"}
TOKENS = {"tokens.create", "tokens.list", "tokens.revoke", "audit.list"}
USERS = {"users.list", "users.add", "users.set", "users.disable", "users.limitRole"}
DEVELOP = SESSIONS | READ | READ_VALUES | WRITE_VALUES | READ_FILES | WRITE_FILES | RUN_TASKS
MAY = {
    "viewer": READ | READ_VALUES | READ_FILES | SESSIONS,
    "developer": DEVELOP,
    "operator": DEVELOP | OPERATE,
    "admin": DEVELOP | OPERATE | WORK | TOKENS | USERS,
    "worker": WORK | READ_FILES | WRITE_FILES,
    "attempt": {"workers.append", "workers.finish", "workers.input", "workers.messages", "workers.delivered"}
    | {"workers.ask"}
    | READ_VALUES
    | WRITE_VALUES
    | READ_FILES
    | WRITE_FILES
    | ASK,
    "job": READ_VALUES | WRITE_VALUES | ASK,
}
PROCEDURES = registry().procedures


def call(url, token, path, value):
    """Call a procedure over HTTP, an event stream where it is a subscription; return its error's code, or OK."""
    kind = PROCEDURES[path].kind
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    try:
        if kind == "mutation":
            connection.request("POST", f"/trpc/{path}", json.dumps(value), headers)
        else:
            connection.request("GET", f"/trpc/{path}?input={quote(json.dumps(value))}", headers=headers)
        answer = connection.getresponse()
        if kind != "subscription":
            found = json.loads(answer.read())
            return found["error"]["data"]["code"] if "error" in found else "OK"
        lines = [answer.readline() for _ in range(5)]  # connected, its data, blank, then the first event
        if lines[3] != b"event: serialized-error\n":
            return "OK"
        return json.loads(lines[4].removeprefix(b"data: "))["data"]["code"]
    finally:
        connection.close()


@pytest.fixture
def running(cluster):
    """A cluster whose worker w1 runs task-1, and whose worker w2 has nothing to do."""
    cluster.add_worker("w1", url=cluster.urls[1])
    cluster.ado("run", "--remote", "--detach", "--agent", "shell", "sleep 600", check=0)
    until(lambda: cluster.task("task-1")["status"] == "running", "task-1 to run")
    return cluster


def attempt_token(cluster, column="token_digest"):
    """Give the running attempt of task-1 a token that the test knows."""
    secret = tokens.secret()
    statement = f"update ado.jobs set {column} = %s where task_id = 1 and status = 'running' returning attempt"
    assert cluster.sql(statement, tokens.digest(secret)) == [(1,)]
    return secret


def test_every_role_has_exactly_the_rights_of_the_table(running):
    """The input is nonsense: a permitted caller gets its error, and any other caller only the refusal of its role."""
    callers = {
        "viewer": running.make_token("viewer"),
        "developer": running.make_token("developer"),
        "operator": running.make_token("operator"),
        "admin": running.make_token("admin"),
        "worker": running.make_token("worker", worker_id="w9"),
        "job": attempt_token(running),
        "attempt": attempt_token(running, "credential_digest"),
    }
    assert set().union(*MAY.values()) | {"sessions.exchange"} == set(PROCEDURES)
    found = {}
    for number, path in enumerate(sorted(PROCEDURES)):
        url = running.urls[number % 2]
        found.update({(role, path): call(url, token, path, 5) for role, token in callers.items()})
        found["nobody", path] = call(url, None, path, 5)
        found["stranger", path] = call(url, "nonsense", path, 5)
    wanted = {(role, path): "FORBIDDEN" for role in MAY for path in PROCEDURES}
    wanted |= {(role, path): "UNAUTHORIZED" for role in ("nobody", "stranger") for path in PROCEDURES}
    for role, paths in MAY.items():
        for path in paths:
            wanted[role, path] = "BAD_REQUEST" if PROCEDURES[path].input_type else "OK"
    wanted |= {(who, "sessions.exchange"): "BAD_REQUEST" for who in (*MAY, "nobody", "stranger")}  # needs no token
    wanted |= {(role, "sessions.end"): "FORBIDDEN" for role in MAY}  # the tokens here are no sessions
    assert found == wanted


def test_a_worker_token_is_for_its_own_id_and_capabilities(running):
    token = running.make_token("worker", worker_id="w9", capabilities=["shell"])
    url = running.urls[0]
    attempt = {"jobId": "task-1/0", "attempt": 1}

    def register(name, *capabilities):
        return call(url, token, "workers.register", {"workerId": name, "capabilities": capabilities})

    assert register("w9", "shell") == "OK"
    assert register("w9", "shell", "gpu") == "FORBIDDEN"
    assert register("w1", "shell") == "FORBIDDEN"
    (session,) = running.sql("select session from ado.workers where worker_id = 'w1'")[0]
    theirs = {"workerId": "w1", "session": session}
    for path, value in {
        "workers.heartbeat": theirs,
        "workers.claim": theirs,
        "workers.commands": theirs,
        "workers.append": {"workerId": "w1", **attempt, "batch": 1, "events": []},
        "workers.finish": {"workerId": "w1", **attempt, "outcome": "succeeded"},
    }.items():
        assert call(url, token, path, value) == "FORBIDDEN", path
    for path, value in {
        "workers.append": {"workerId": "w9", **attempt, "batch": 1, "events": []},
        "workers.finish": {"workerId": "w9", **attempt, "outcome": "succeeded"},
    }.items():
        assert call(url, token, path, value) == "CONFLICT", path
    assert running.task("task-1")["status"] == "running"


def test_a_job_token_reaches_the_store_of_its_task_and_ends_with_its_attempt(running):
    running.ado("run", "--remote", "--detach", "--agent", "shell", "x", check=0)
    token = attempt_token(running)
    first, second = running.urls
    assert call(first, token, "tasks.kvSet", {"taskId": "task-1", "key": "k", "value": 1}) == "OK"
    assert call(second, token, "tasks.kvGet", {"taskId": "task-1", "key": "k"}) == "OK"
    for path in ("tasks.kvGet", "tasks.kvList", "tasks.kvSet", "tasks.kvCas"):
        value = {"taskId": "task-2", "key": "k", "value": 1, "version": 0}
        assert call(first, token, path, value) == "FORBIDDEN", path
    running.ado("cancel", "task-1", check=0)
    until(lambda: running.task("task-1")["status"] == "cancelled", "task-1 to end")
    for url in running.urls:
        until(
            lambda url=url: call(url, token, "tasks.kvList", {"taskId": "task-1"}) == "UNAUTHORIZED",
            "the job's token to be dead",
        )


async def read_frames(url, token, path, value, found):
    """Subscribe over a WebSocket; add every frame to ``found`` until the replica closes it."""
    async with connect(
        f"ws{url.removeprefix('http')}/trpc", additional_headers={"authorization": f"Bearer {token}"}, proxy=None
    ) as socket:
        call = {"id": 7, "method": "subscription", "params": {"path": path, "input": value}}
        await socket.send(json.dumps(call))
        with contextlib.suppress(ConnectionClosed):
            while True:
                text = await asyncio.wait_for(socket.recv(), 60)
                if text != "PING":
                    found.append(json.loads(text))


def read_lines(url, token, path, value, found):
    """Subscribe over SSE; add every line to ``found`` until the replica closes it."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    query = f"input={quote(json.dumps(value))}&connectionParams={quote(json.dumps({'token': token}))}"
    connection.request("GET", f"/trpc/{path}?{query}")
    for line in connection.getresponse():
        found.append(line.decode())
    connection.close()


async def test_expiry_ends_open_streams_by_an_error_under_their_ids_and_then_the_socket(running):
    token = running.make_token("viewer", expires_seconds=600.0)
    value = {"taskId": "task-1"}
    socket, lines = [], []
    reading = asyncio.gather(
        read_frames(running.urls[0], token, "stream.taskEvents", value, socket),
        asyncio.to_thread(read_lines, running.urls[1], token, "stream.taskEvents", value, lines),
    )
    await asyncio.to_thread(until, lambda: len(socket) > 1 and '"type":"created"' in "".join(lines), "both streams")
    running.sql("update ado.tokens set expires_at = now() where digest = %s returning 1", tokens.digest(token))
    await reading
    stream = "".join(lines)
    assert socket[0] == {"id": 7, "result": {"type": "started"}}
    assert socket[1]["result"]["data"]["data"]["type"] == "created"
    assert (socket[-1]["id"], socket[-1]["error"]["data"]["code"]) == (7, "UNAUTHORIZED")
    assert "stopped" not in json.dumps(socket)
    assert '"type":"created"' in stream
    assert stream.rpartition("event: ")[2].startswith("serialized-error\ndata: ")
    assert '"UNAUTHORIZED"' in stream
    assert "event: return" not in stream


async def test_revocation_directly_on_the_database_ends_a_workers_command_stream(running):
    token = running.make_token("worker", worker_id="w9")
    (token_id,) = running.sql("select token_id from ado.tokens where worker_id = 'w9'")[0]
    assert call(running.urls[0], token, "workers.register", {"workerId": "w9", "capabilities": []}) == "OK"
    (session,) = running.sql("select session from ado.workers where worker_id = 'w9'")[0]
    found, value = [], {"workerId": "w9", "session": session}
    reading = asyncio.create_task(read_frames(running.urls[0], token, "workers.commands", value, found))
    await asyncio.to_thread(until, lambda: found, "the stream")
    done = await asyncio.to_thread(running.ado, "token", "revoke", token_id, "--dsn", running.dsn)
    assert done.returncode == 0, done.stderr
    await reading
    assert (found[-1]["id"], found[-1]["error"]["data"]["code"]) == (7, "UNAUTHORIZED")


def test_open_streams_end_within_ten_seconds_of_a_revocation():
    assert WireLimits().recheck_seconds + CACHE_SECONDS + 1 < 10


def test_tokens_are_made_listed_and_revoked_with_and_without_a_dsn(cluster):
    made = {}
    for way in ([], ["--dsn", cluster.dsn]):
        create = ("token", "create", "--role", "worker", "--worker", "w1", "--capability", "shell", "--expires", "1h")
        made = json.loads(cluster.ado(*create, "-o", "json", *way, check=0).stdout)
        assert set(made) == {"tokenId", "token", "role", "expiresAt"}
        listed = json.loads(cluster.ado("token", "list", "-o", "json", *way, check=0).stdout)["items"]
        (mine,) = [token for token in listed if token["tokenId"] == made["tokenId"]]
        assert (mine["workerId"], mine["capabilities"], "token" in mine) == ("w1", ["shell"], False)
        revoked = json.loads(cluster.ado("token", "revoke", made["tokenId"], "-o", "json", *way, check=0).stdout)
        assert revoked["revokedAt"]
        assert cluster.ado("token", "revoke", "tok-none", *way, check=127).stdout == b""
    assert call(cluster.urls[0], made["token"], "workers.register", {"workerId": "w1"}) == "UNAUTHORIZED"


def test_no_log_holds_a_token_an_environment_value_or_a_query_string(running):
    """Calls that succeed, that fail and that make no sense, and a worker that runs the job."""
    secret = "s3cr3t-value"
    running.ado("run", "--remote", "--agent", "shell", "--env", f"KEY={secret}", "--detach", "echo $KEY", check=0)
    running.ado("cancel", "task-1", check=0)
    until(lambda: running.task("task-2")["status"] == "succeeded", "task-2 to succeed")
    params = quote(json.dumps({"token": running.token}))
    for query in (f"connectionParams={params}", f"connectionParams={params}&input=%7B{secret}", f"x={secret}"):
        for path in ("tasks.list", "no.such", "stream.taskEvents"):
            connection = http.client.HTTPConnection(running.urls[0].removeprefix("http://"), timeout=60)
            connection.request("GET", f"/trpc/{path}?{query}")
            connection.getresponse().read()
            connection.close()
    shown = json.dumps([running.task("task-2"), running.events("task-2")[0]])
    assert "KEY" in shown
    assert secret not in shown
    for row in running.sql("select t::text from ado.task_status t union all select j::text from ado.job_status j"):
        assert secret not in row[0]
    logs = [path.read_text() for path in running.home.glob("*.log")]
    assert len(logs) >= 3
    assert all(log for log in logs)
    for word in (secret, running.token, "connectionParams"):
        assert not [log for log in logs if word in log], word
