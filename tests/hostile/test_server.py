"""A hostile server: the command line reports any wrong answer in one message, in time, and does nothing else."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.repositories import SETTINGS, Tree

from cli import __main__ as program

pytestmark = [  # a command's process ends with its connections open
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SLY = "x\x1b]0;title\x07\x1b[2J\x1b[8mhidden\x1b[0m\r\u202e\u200b\x9b2J\nado: task-1 succeeded"
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e]")
JOB = {
    "jobId": "task-1/0", "job": 0, "agent": SLY, "status": "failed", "attempt": 1, "workerId": SLY, "reason": SLY,
    "message": SLY, "exitCode": 3, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z",
    "usage": {"costUsd": 1.5},
}  # fmt: skip
TASK = {
    "taskId": "task-1", "status": "failed", "prompt": SLY, "agent": SLY, "agents": [SLY], "workers": 1,
    "requires": [SLY], "resources": {"cpu": 1.0, "memory": 1, "gpu": 0}, "priority": 0, "labels": {SLY: SLY},
    "version": 1, "createdAt": "2026-01-01T00:00:00Z", "jobs": [JOB], "reason": "exit_nonzero", "message": SLY,
}  # fmt: skip
WORKER = {
    "workerId": SLY, "state": SLY, "capabilities": [SLY], "resources": {}, "free": {}, "slots": 1, "jobs": [],
    "labels": {f"agent/{SLY}": SLY}, "host": SLY, "problem": SLY,
}  # fmt: skip
SPAWNER = {
    "spawnerId": SLY, "state": "silent", "capabilities": [SLY], "problem": SLY,
    "lastHeartbeatAt": "2026-01-01T00:00:00Z",
}  # fmt: skip
SICK = {
    "agent": SLY, "failures": 5, "reason": SLY, "why": SLY, "jobId": SLY, "isProbing": True,
    **dict.fromkeys(("since", "failedAt", "probeAfter"), "2026-01-01T00:00:00Z"),
}  # fmt: skip
STATUS = {
    "workers": [WORKER], "counts": {SLY: 1}, "queue": {"queued": 1, "running": 0}, "spawners": [SPAWNER],
    "unhealthyAgents": [SICK],
}  # fmt: skip
QUESTION = {
    "questionId": "question-1", "taskId": "task-1", "job": 0, "attempt": 1, "kind": "permission", "text": SLY,
    "options": [{"id": SLY, "label": SLY}], "state": "open", "createdAt": "2026-01-01T00:00:00Z",
}  # fmt: skip
ANSWERS = {
    "tasks.list": {"items": [TASK], "nextCursor": None},
    "tasks.get": TASK,
    "tasks.cancel": TASK,
    "tasks.retry": TASK,
    "tasks.pause": TASK,
    "tasks.resume": TASK,
    "tasks.create": TASK,
    "workers.status": STATUS,
    "workers.list": {"items": [WORKER]},
    "workers.drain": WORKER,
    "workers.resetAgent": {"agent": SLY, "failures": 5},
    "tasks.kvGet": {"key": "k", "value": SLY, "version": 1},
    "tasks.kvList": {"items": [{"key": SLY, "value": SLY, "version": 1}]},
    "tokens.list": {"items": [{"tokenId": SLY, "role": SLY, "createdAt": "2026-01-01T00:00:00Z"}]},
    "files.list": {"items": []},
    "questions.list": {"items": [QUESTION]},
}
COMMANDS = [
    ("tasks", "list"), ("tasks", "show", "1"), ("cancel", "1"), ("retry", "1"), ("explain", "1"), ("compare", "1"),
    ("workers", "status"), ("workers", "list"), ("workers", "drain", "w"), ("workers", "reset", "a"),
    ("kv", "list", "--task", "1"), ("token", "list"),
    ("run", "--remote", "--detach", "--agent", "shell", "--wait-for-agent", "x"),
]  # fmt: skip


class Server(ThreadingHTTPServer):
    """Answers each procedure with what ``answers`` has for it, and remembers the calls."""

    daemon_threads = True

    def __init__(self):
        self.answers = dict(ANSWERS)
        self.error = None
        self.redirect = None
        self.raw = None
        self.asked = []
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("authorization")))
        self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.server.redirect:
            self.send_response(302)
            scheme = "ws" if self.headers.get("upgrade") else "http"
            self.send_header("location", scheme + self.server.redirect.removeprefix("http") + self.path)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        name = self.path.split("?")[0].removeprefix("/trpc/")
        value = {"result": {"data": self.server.answers.get(name)}}
        if self.server.error:
            value = {"error": {"message": SLY, "code": -32600, "data": self.server.error}}
        body = self.server.raw if self.server.raw is not None else json.dumps(value).encode()
        self.send_response(400 if self.server.error else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


def serving():
    made = Server()
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    return made


@pytest.fixture
def server(monkeypatch, tmp_path):
    made = serving()
    monkeypatch.setenv("ADO_URL", made.url)
    monkeypatch.setenv("ADO_TOKEN", "secret")
    monkeypatch.setenv("ADO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    yield made
    made.shutdown()
    made.server_close()


def ado(capfd, *words):
    """Run a command in this process; return its exit code and what it wrote."""
    code = program._run(list(words))
    said = capfd.readouterr()
    assert "a mistake of ado's own" not in said.err, said.err
    assert "Traceback" not in said.err
    return code, said.out, said.err


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_answers_cannot_control_the_terminal_or_imitate_messages(server, capfd, words):
    code, out, err = ado(capfd, *words)
    assert code == 0, err
    assert not UNSEEN.search(out + err)
    assert not [line for line in (out + err).splitlines() if line.startswith("ado: task-1 succeeded")]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_errors_of_a_server_are_printed_as_one_line_each(server, capfd, words):
    server.error = {"code": "FORBIDDEN", "reason": SLY, "hint": SLY}
    code, out, err = ado(capfd, *words)
    assert code == 126
    assert not out
    assert not UNSEEN.search(err)
    assert len(err.splitlines()) == 2


def spoilt(value, path=()):
    """Yield the value with each of its members replaced by something else, one at a time."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if (*path, key) != ("value",):
                for other in spoilt(inner, (*path, key)):
                    yield {**value, key: other}
            if not isinstance(inner, (dict, list)):
                yield {name: member for name, member in value.items() if name != key}
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            for other in spoilt(inner, path):
                yield [*value[:number], other, *value[number + 1 :]]
        yield {}
    else:
        yield from ([], {"a": 1}, 2**70, "../../x\x00", None)


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] not in ("run", "kv")], ids=" ".join)
def test_an_answer_of_another_shape_is_refused_or_harmless(server, capfd, words):
    """Every member of every answer, of every wrong type or missing: a sentence and an exit code, never a crash."""
    ado(capfd, *words)
    asked = {path.split("?")[0].removeprefix("/trpc/") for path, _ in server.asked}
    tried = 0
    for name in asked:
        for answer in spoilt(ANSWERS[name]):
            server.answers = {**ANSWERS, name: answer}
            code, out, err = ado(capfd, *words)
            assert code in (0, 125), (code, err)
            assert not UNSEEN.search(out + err)
            tried += 1
    assert tried > 10


def test_why_a_task_waits_controls_no_terminal_and_is_refused_in_another_shape(server, capfd):
    waits = {"why": SLY, "reason": SLY, "workers": [{"workerId": SLY, "state": SLY, "unmet": SLY, "help": SLY}]}
    queued = {**TASK, "status": "queued", "jobs": [{**JOB, "status": "queued"}]}
    codes = []
    for words in (("explain", "1"), ("tasks", "show", "1")):
        for wait in (waits, *spoilt(waits)):
            server.answers["tasks.get"] = {**queued, "wait": wait}
            code, out, err = ado(capfd, *words)
            assert code in (0, 125), (code, err)
            assert not UNSEEN.search(out + err)
            codes.append(code)
    assert 125 in codes
    server.answers["tasks.get"] = queued
    code, out, err = ado(capfd, "explain", "1")  # a server of before says nothing
    assert (code, out) == (1, "")
    assert "older release" in err


def test_an_answer_has_all_jobs_of_a_task_or_the_requested_one(server, capfd):
    for count, code in ((1, 0), (5, 0), (2, 125), (0, 125)):
        server.answers["tasks.get"] = {**TASK, "workers": 5, "jobs": [{**JOB, "job": job} for job in range(count)]}
        assert ado(capfd, "tasks", "show", "1", "--job", "0")[0] == code


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"result":{"data":' + b"[{}," * 3_000_000, b"null", b"1" * 100_000])
def test_an_answer_that_would_take_much_memory_is_refused(server, capfd, body):
    server.raw = body
    code, _, err = ado(capfd, "tasks", "show", "1")
    assert code == 125
    assert "not from an ado server" in err


@pytest.mark.parametrize("words", [("tasks", "list"), ("cancel", "1"), ("wait", "1")], ids=" ".join)
def test_a_redirect_is_not_followed_and_no_other_host_gets_the_token(server, capfd, words):
    other = serving()
    try:
        server.redirect = other.url
        code, _, _ = ado(capfd, *words)
        assert code == 125
        assert server.asked
        assert other.asked == []
    finally:
        other.shutdown()
        other.server_close()


def test_invalid_ids_reach_no_ref(server, tmp_path, monkeypatch, capfd):
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    tree = Tree(tmp_path / "tree")
    tree.commit({"f": "1\n"})
    monkeypatch.chdir(tree.path)
    before = tree.git("for-each-ref")
    server.answers["files.begin"] = {"fileId": "file-" + "0" * 32, "received": 0, "chunkBytes": 1 << 20}
    for evil in ("../../heads/main", "task-1/../../../heads/main", "-f", "task-1\n", "task-1 x", "", "task-", "TASK-1"):
        server.answers["tasks.create"] = {**TASK, "taskId": evil}
        code, _, err = ado(capfd, "run", "--remote", "--repo", "--detach", "--agent", "shell", "--wait-for-agent", "x")
        assert code == 125
        assert "not from an ado server" in err
    assert tree.git("for-each-ref") == before


def test_names_that_a_shell_would_run_are_not_completed(server, capfd):
    evil = ["$(touch x)", "`x`", "a b", "-f", "*", "w;x", "w\nx", "~", "'", "\x1b[2J"]
    server.answers["workers.list"] = {"items": [{**WORKER, "workerId": name} for name in [*evil, "w-1.x"]]}
    assert ado(capfd, "complete", "--", "workers", "drain", "")[1].split() == ["w-1.x"]


@pytest.mark.parametrize(
    "file",
    [
        {"size": 2**60}, {"size": -1}, {"size": 1e3}, {"sha256": "x"}, {"fileId": "../x"}, {"job": "../../heads/main"},
        {"job": -1}, {"job": None}, {"about": None}, {"about": {"branch": "ado/../main"}}, {"kind": 5},
    ],
)  # fmt: skip
def test_invalid_files_are_refused(server, tmp_path, monkeypatch, capfd, file):
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    tree = Tree(tmp_path / "tree")
    base = tree.commit({"f": "1\n"})
    monkeypatch.chdir(tree.path)
    about = {"branch": "ado/task-1", "commit": "0" * 40, "base": base, "whole": False}
    good = {"fileId": "file-" + "0" * 32, "kind": "result", "size": 10, "sha256": "0" * 64, "job": 0, "about": about}
    server.answers["files.list"] = {"items": [{**good, **file}]}
    before = tree.git("for-each-ref")
    for command in ("diff", "apply", "checkout"):
        code, out, err = ado(capfd, command, "1")
        assert code in (1, 125), (code, out, err)
    assert tree.git("for-each-ref") == before
