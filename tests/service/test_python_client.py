"""The Python client against two replicas: its documentation's programs, streams over a killed replica, errors."""

import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from importlib import resources
from inspect import getdoc
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.link import DOWN, Link
from support.program import until

import app.client
from app.client import (
    Ado,
    AgentToolEnd,
    AsyncAdo,
    Conflict,
    Forbidden,
    InvalidInput,
    NotConfigured,
    NotFound,
    OutputEvent,
    Resources,
    Unauthorized,
    Unreachable,
    WaitTimedOut,
)

GUIDE = (Path(str(resources.files("app"))) / "client" / "README.md").read_text()
README = (Path(str(resources.files("sql"))).parent / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README + GUIDE, re.MULTILINE | re.DOTALL)
OF_DOCSTRING = "\n".join(line[4:] for line in getdoc(app.client).splitlines() if line.startswith("    "))
COUNT = "for i in $(seq 1 40); do echo $i; sleep 0.1; done"
NUMBERS = b"".join(b"%d\n" % number for number in range(1, 41))


@pytest.fixture
def ado(cluster):
    with Ado(cluster.urls, cluster.token) as client:
        yield client


def test_every_example_of_the_readme_the_guide_and_the_docstring_runs(cluster):
    cluster.add_worker("w1", "--slots", "4")
    environment = cluster.client_env()
    running = [
        subprocess.Popen(
            [sys.executable, "-P", "-W", "error", "-c", program], env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for program in [OF_DOCSTRING, *EXAMPLES]
    ]  # fmt: skip
    ended = [(*process.communicate(timeout=100), process.returncode) for process in running]
    assert [(error, code) for _, error, code in ended] == [("", 0)] * 6
    short, first, blocking, asynchronous, resumed, errors = (text for text, _, _ in ended)
    assert short == "succeeded b'hello\\n'\n"
    assert first == "hello from a worker\nsucceeded\n"
    assert sorted(blocking.splitlines()) == ["[0] hello from job 0", "[1] hello from job 1", "succeeded [0, 0]"]
    assert asynchronous == "hello\nsucceeded None\n"
    assert resumed.splitlines()[-1].endswith(" succeeded")
    assert [line.split()[0] for line in errors.splitlines()] == ["no_such_task", "version_conflict"]


async def test_a_stream_goes_on_through_the_other_replica_when_its_own_is_killed(cluster):
    cluster.add_worker("w1", url=cluster.urls[1])
    states = []
    async with AsyncAdo(cluster.urls, cluster.token, on_state=states.append) as ado:
        task = await ado.create_task(COUNT, agent="shell")
        found = []
        async with aclosing(ado.events(task.task_id)) as events:
            async for event in events:
                found.append(event)
                if len(found) == 8:
                    cluster.replicas[0].kill()
    assert [event.seq for event in found] == list(range(1, len(found) + 1))
    assert b"".join(event.content for event in found if isinstance(event, OutputEvent)) == NUMBERS
    assert found[-1].type == "succeeded"
    connected = [state.url for state in states if state.kind == "connected"]
    assert connected == cluster.urls


def test_a_blocking_stream_goes_on_through_the_other_replica_when_its_own_is_killed(cluster, ado):
    cluster.add_worker("w1", url=cluster.urls[1])
    task = ado.create_task(COUNT, agent="shell")
    found = []
    for event in ado.output(task.task_id):
        found.append(event)
        if len(found) == 5:
            cluster.replicas[0].kill()
    assert b"".join(event.content for event in found) == NUMBERS
    assert ado.wait(task.task_id).status == "succeeded"
    assert ado.logs(task.task_id) == NUMBERS


def test_a_stream_begins_after_the_event_that_was_seen(cluster, ado):
    cluster.add_worker("w1")
    task = ado.create_task("echo a; echo b >&2", agent="shell")
    assert ado.wait(task.task_id).ended
    every = list(ado.events(task.task_id))
    stream = ado.events(task.task_id)
    assert next(stream) == every[0]
    stream.close()
    assert list(ado.events(task.task_id, after=every[0].seq)) == every[1:]
    assert list(ado.events(task.task_id, tail=1)) == every[-1:]
    assert ado.logs(task.task_id, stream="stderr") == b"b\n"
    assert {event.type for event in ado.progress(task.task_id)} == {event.type for event in every} - {"output"}


@pytest.fixture
def link(cluster):
    """A way to the replicas that can be stopped and cut."""
    with Link(*(("127.0.0.1", urlsplit(url).port) for url in cluster.urls)) as made:
        yield made


def test_a_change_whose_answer_is_lost_is_sent_again_and_made_once(cluster, ado, link):
    task = ado.create_task("true", agent="shell")
    with Ado(link.url, cluster.token) as cut:
        cut.list_tasks()
        for change, is_made in [
            (lambda: cut.create_task("true", agent="shell"), lambda: len(ado.list_tasks().items) == 2),
            (lambda: cut.kv_set(task.task_id, "a", 1), lambda: ado.kv_get(task.task_id, "a") is not None),
        ]:
            link.stop(DOWN)
            with ThreadPoolExecutor(1) as thread:
                changing = thread.submit(change)
                until(is_made, "the change to be made")
                link.cut()
                link.go()
                changing.result(60)
    assert len(ado.list_tasks().items) == 2
    assert ado.kv_get(task.task_id, "a").version == 1


def test_the_same_key_is_the_same_task_and_other_input_under_it_a_conflict(ado):
    first = ado.create_task("x", agent="shell", idempotency_key="once")
    assert ado.create_task("x", agent="shell", idempotency_key="once").task_id == first.task_id
    with pytest.raises(Conflict) as raised:
        ado.create_task("y", agent="shell", idempotency_key="once")
    assert raised.value.reason == "idempotency_conflict"


def test_a_server_that_does_not_answer_is_an_error_in_time(cluster, link):
    with Ado(link.url, cluster.token, timeout=2) as ado:
        ado.list_tasks()
        link.go_deaf()
        with pytest.raises(Unreachable, match=r"no answer to tasks\.get within 2 seconds"):
            ado.get_task("task-1")
        link.go()


def test_tasks_are_cancelled_retried_changed_removed_and_listed_by_page(ado):
    task = ado.create_task(
        "true", agent="shell", workers=2, labels={"a": "b"}, env={"X": "1"}, resources=Resources(cpu=0.5), retries=1
    )
    assert (task.labels, task.env_names, task.resources.cpu, task.workers) == ({"a": "b"}, ["X"], 0.5, 2)
    changed = ado.update_task(task.task_id, version=task.version, priority=5)
    with pytest.raises(Conflict) as raised:
        ado.update_task(task.task_id, version=task.version, priority=6)
    assert (raised.value.reason, raised.value.data["version"]) == ("version_conflict", changed.version)
    cancelled = ado.cancel_task(task.task_id, reason="enough")
    assert (cancelled.status, ado.wait(task.task_id).status) == ("cancelled", "cancelled")
    assert ado.cancel_task(task.task_id).status == "cancelled"
    assert ado.retry_task(task.task_id).status == "queued"
    ado.cancel_task(task.task_id)
    second = ado.create_task("é" * 2000, agent="shell")
    page = ado.list_tasks(limit=1)
    assert (page.items[0].task_id, page.items[0].prompt_cut) == (second.task_id, True)
    assert ado.list_tasks(limit=1, cursor=page.next_cursor).items[0].task_id == task.task_id
    found = ado.list_tasks(status=["queued", "cancelled"], label_names=["a"], search="TRUE", since=3600)
    assert [item.task_id for item in found.items] == [task.task_id]
    assert ado.remove_task(task.task_id).removed
    with pytest.raises(NotFound):
        ado.get_task(task.task_id)


def test_a_wait_that_takes_too_long_says_so_and_the_task_goes_on(ado):
    task = ado.create_task("true", agent="shell")
    with pytest.raises(WaitTimedOut) as raised:
        ado.wait(task.task_id, timeout=0.2)
    assert raised.value.hint
    assert isinstance(raised.value, TimeoutError)
    assert ado.get_task(task.task_id).status == "queued"


def test_values_are_kept_with_their_versions(ado):
    task = ado.create_task("true", agent="shell")
    assert ado.kv_get(task.task_id, "a") is None
    assert ado.kv_set(task.task_id, "a", None).value is None
    assert ado.kv_cas(task.task_id, "a", {"b": [1]}, version=1).version == 2
    assert [value.key for value in ado.kv_list(task.task_id, prefix="a")] == ["a"]


def test_workers_and_the_queue_are_shown(cluster, ado):
    assert ado.workers_status().queue.queued == 0
    ado.create_task("true", agent="scripted", requires=["gpu"])
    assert [(waiting.needs, waiting.jobs) for waiting in ado.workers_status().queue.waiting] == [
        (["gpu", "scripted"], 1)
    ]
    assert ado.list_workers() == []
    assert ado.scale_workers(2, capabilities=["shell"]).count == 2
    with pytest.raises(NotFound) as raised:
        ado.drain_worker("nobody")
    assert raised.value.reason == "no_such_worker"


def test_what_an_agent_says_is_typed(cluster, ado):
    cluster.add_worker("w1")
    script = '{"agent": {"event": "tool_end", "toolId": "1", "tool": "x", "kind": "bash", "title": "ls", "ok": true}}'
    task = ado.create_task(script, agent="scripted")
    (said,) = [event for event in ado.events(task.task_id) if isinstance(event, AgentToolEnd)]
    assert (said.title, said.ok, said.attempt) == ("ls", True, 1)


def test_every_error_has_a_code_and_the_next_step(cluster, ado):
    with pytest.raises(InvalidInput) as raised:
        ado.create_task("x", workers=-1)
    assert (raised.value.code, raised.value.reason, bool(raised.value.hint)) == ("BAD_REQUEST", "invalid_input", True)
    with pytest.raises(InvalidInput):
        ado.create_task("\ud800")
    with pytest.raises(NotFound) as raised:
        next(ado.events("task-999"))
    assert raised.value.reason == "no_such_task"
    with Ado(cluster.urls, cluster.make_token("viewer")) as viewer, pytest.raises(Forbidden):
        viewer.create_task("x")
    with Ado(cluster.urls, "nonsense") as stranger, pytest.raises(Unauthorized) as raised:
        stranger.list_tasks()
    assert raised.value.hint


def test_a_server_that_is_not_there_is_an_error_in_time(closed_port):
    with Ado(f"http://127.0.0.1:{closed_port}", "x", timeout=0.5) as nobody:
        with pytest.raises(Unreachable) as raised:
            nobody.list_tasks()
        assert (raised.value.code, raised.value.reason, bool(raised.value.hint)) == ("UNREACHABLE", None, True)


@pytest.fixture
def closed_port():
    """A port on which nobody listens."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize("url", ["", " , ", "ftp://host", "host:1", "http://", "http://host:x", "http://[::1"])
def test_a_url_that_cannot_be_one_is_refused_at_once(monkeypatch, url):
    monkeypatch.delenv("ADO_URL", raising=False)
    with pytest.raises(NotConfigured) as raised:
        Ado(url)
    assert raised.value.hint


def test_several_threads_share_a_client_and_its_end_ends_their_calls(cluster):
    ado = Ado(cluster.urls, cluster.token)
    task = ado.create_task("true", agent="shell")
    threads = [threading.Thread(target=ado.get_task, args=(task.task_id,)) for _ in range(5)]
    told = []

    def wait():
        with pytest.raises(Unreachable) as raised:
            ado.wait(task.task_id)
        told.append(raised.value)

    waiting = threading.Thread(target=wait)
    for thread in [*threads, waiting]:
        thread.start()
    for thread in threads:
        thread.join(60)
    ado.close()
    ado.close()
    waiting.join(60)
    assert not any(thread.is_alive() for thread in [*threads, waiting])
    assert len(told) == 1
    with pytest.raises(Unreachable):
        ado.get_task(task.task_id)
