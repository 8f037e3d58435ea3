"""The Python client against two replicas: its documentation's programs, streams over a killed replica, errors."""

import asyncio
import hashlib
import os
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
from support.ports import reserved_port
from support.postgres import fast_directory, remove
from support.program import Cluster, until
from support.proxy import Proxy

import app.client
from app.client import (
    Ado,
    AgentToolEnd,
    AsyncAdo,
    Conflict,
    Forbidden,
    InputClosed,
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
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
OF_DOCSTRING = "\n".join(line[4:] for line in getdoc(app.client).splitlines() if line.startswith("    "))
COUNT = "for i in $(seq 1 40); do echo $i; sleep 0.1; done"
NUMBERS = b"".join(b"%d\n" % number for number in range(1, 41))


@pytest.fixture
def ado(cluster):
    with Ado(cluster.urls, cluster.token) as client:
        yield client


@pytest.fixture(scope="module")
def replicas(shared_dsn):
    """Two replicas without workers, for tests that leave them as they are."""
    directory = fast_directory()
    made = Cluster(shared_dsn, directory)
    try:
        yield made.add_replicas(2)
    finally:
        made.close()
        remove(directory)


@pytest.fixture
def client(replicas):
    with Ado(replicas.urls, replicas.token) as made:
        yield made


def test_every_example_of_the_guide_and_the_docstring_runs(cluster):
    cluster.add_worker("w1", "--slots", "4")
    environment = cluster.client_env()
    running = [
        subprocess.Popen(
            [sys.executable, "-P", "-W", "error", "-c", program], env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for program in [OF_DOCSTRING, *EXAMPLES]
    ]  # fmt: skip
    try:
        ended = [(*process.communicate(timeout=100), process.returncode) for process in running]
    finally:
        for process in running:  # an open pipe would be an error of a later test
            process.kill()
            process.communicate()
    assert [(error, code) for _, error, code in ended] == [("", 0)] * 8
    short, first, blocking, asynchronous, resumed, fed, fed_again, errors = (text for text, _, _ in ended)
    assert short == "succeeded b'hello\\n'\n"
    assert first == "hello from a worker\nsucceeded\n"
    assert sorted(blocking.splitlines()) == ["[0] hello from job 0", "[1] hello from job 1", "succeeded [0, 0]"]
    assert asynchronous == "hello\nsucceeded None\n"
    assert resumed.splitlines()[-1].endswith(" succeeded")
    assert fed == "succeeded 100\n"
    assert fed_again == "2000000\n"
    assert [line.split()[0] for line in errors.splitlines()] == ["no_such_task", "version_conflict"]


async def test_a_stream_continues_on_another_replica_after_a_kill(cluster):
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


def test_a_blocking_stream_continues_on_another_replica_after_a_kill(cluster, ado):
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


def test_a_stream_starts_after_a_given_event(cluster, ado):
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
def link(replicas):
    """A way to the replicas that can be stopped and cut."""
    with Link(*(("127.0.0.1", urlsplit(url).port) for url in replicas.urls)) as made:
        yield made


def test_a_change_whose_answer_is_lost_is_sent_again_and_made_once(replicas, client, link):
    task = client.create_task("true", agent="shell")
    with Ado(link.url, replicas.token) as cut:
        cut.list_tasks()
        for change, is_made in [
            (lambda: cut.create_task("cut off", agent="shell"), lambda: client.list_tasks(search="cut off").items),
            (lambda: cut.kv_set(task.task_id, "a", 1), lambda: client.kv_get(task.task_id, "a") is not None),
        ]:
            link.stop(DOWN)
            with ThreadPoolExecutor(1) as thread:
                changing = thread.submit(change)
                until(is_made, "the change to be made")
                link.cut()
                link.go()
                changing.result(60)
    assert len(client.list_tasks(search="cut off").items) == 1
    assert client.kv_get(task.task_id, "a").version == 1


async def test_input_arrives_once_despite_cuts_and_a_killed_replica(cluster, tmp_path):
    """A client and a worker behind connections that are reset again and again, and a replica that dies."""
    data = os.urandom(8_000_000)
    (tmp_path / "data").write_bytes(data)
    some, go = cluster.home / "some", cluster.home / "go"
    script = f"(head -c 2000000; touch {some}; until test -e {go}; do sleep 0.05; done; cat) | sha256sum"
    with Proxy(cluster.urls) as proxy, (tmp_path / "data").open("rb") as source:
        cluster.add_worker("w1", url=proxy.url)
        async with AsyncAdo(proxy.url, cluster.token) as ado:
            task = await ado.create_task(script, agent="shell", stdin=True)
            sending = asyncio.create_task(ado.send_input(task.task_id, source))
            await asyncio.to_thread(until, some.exists, "some of the input", 60)
            cluster.replicas[0].kill()
            go.touch()
            assert await sending == len(data)
            assert (await ado.wait(task.task_id)).status == "succeeded"
            assert (await ado.logs(task.task_id)).split()[0] == hashlib.sha256(data).hexdigest().encode()


def test_a_restarted_program_resumes_its_input(cluster, ado):
    cluster.add_worker("w1", "--slots", "2")
    task = ado.create_task("cat", agent="shell", stdin=True)
    assert ado.send_input(task.task_id, b"abc", end=False) == 3
    assert ado.input_received(task.task_id) == 3
    with pytest.raises(Conflict) as raised:
        ado.send_input(task.task_id, b"x", offset=5)
    assert (raised.value.reason, raised.value.data["expected"]) == ("input_gap", 3)
    assert ado.send_input(task.task_id, (piece for piece in (b"bcd", b"ef")), offset=1) == 6
    assert (ado.wait(task.task_id).status, ado.logs(task.task_id)) == ("succeeded", b"abcdef")
    with pytest.raises(InputClosed) as raised:
        ado.send_input(task.task_id, b"x", offset=6)
    assert raised.value.hint


def test_each_job_reads_its_own_input_and_an_early_end_is_reported(cluster, ado):
    cluster.add_worker("w1", "--slots", "2")
    task = ado.create_task("head -1", agent="shell", workers=2, stdin=True)
    assert ado.send_input(task.task_id, b"first\n", job=0) == 6
    with pytest.raises(InputClosed):
        ado.send_input(task.task_id, iter(lambda: b"second\n" * 10_000, None), job=1)
    assert ado.wait(task.task_id).status == "succeeded"
    assert [ado.logs(task.task_id, job=job) for job in (0, 1)] == [b"first\n", b"second\n"]
    with pytest.raises(InputClosed):
        ado.send_input(ado.create_task("cat", agent="shell").task_id, b"x")


def test_a_reused_key_returns_the_task_and_conflicts_with_other_input(client):
    first = client.create_task("x", agent="shell", idempotency_key="once")
    assert client.create_task("x", agent="shell", idempotency_key="once").task_id == first.task_id
    with pytest.raises(Conflict) as raised:
        client.create_task("y", agent="shell", idempotency_key="once")
    assert raised.value.reason == "idempotency_conflict"


def test_a_server_that_does_not_answer_is_an_error_in_time(replicas, link):
    link.go_deaf()
    with Ado(link.url, replicas.token, timeout=0.5) as ado:
        with pytest.raises(Unreachable, match=r"no answer to tasks\.get within 0.5 seconds"):
            ado.get_task("task-1")
        link.go()


def test_tasks_are_cancelled_retried_changed_removed_and_listed_by_page(client):
    task = client.create_task(
        "true", agent="shell", workers=2, labels={"a": "b"}, env={"X": "1"}, resources=Resources(cpu=0.5), retries=1
    )
    assert (task.labels, task.env_names, task.resources.cpu, task.workers) == ({"a": "b"}, ["X"], 0.5, 2)
    changed = client.update_task(task.task_id, version=task.version, priority=5)
    with pytest.raises(Conflict) as raised:
        client.update_task(task.task_id, version=task.version, priority=6)
    assert (raised.value.reason, raised.value.data["version"]) == ("version_conflict", changed.version)
    cancelled = client.cancel_task(task.task_id, reason="enough")
    assert (cancelled.status, client.wait(task.task_id).status) == ("cancelled", "cancelled")
    assert client.cancel_task(task.task_id).status == "cancelled"
    assert client.retry_task(task.task_id).status == "queued"
    client.cancel_task(task.task_id)
    second = client.create_task("é" * 2000, agent="shell")
    page = client.list_tasks(limit=1)
    assert (page.items[0].task_id, page.items[0].prompt_cut) == (second.task_id, True)
    assert client.list_tasks(limit=1, cursor=page.next_cursor).items[0].task_id == task.task_id
    found = client.list_tasks(status=["queued", "cancelled"], label_names=["a"], search="TRUE", since=3600)
    assert [item.task_id for item in found.items] == [task.task_id]
    assert client.remove_task(task.task_id).removed
    with pytest.raises(NotFound):
        client.get_task(task.task_id)


def test_a_wait_that_times_out_raises_and_the_task_continues(client):
    task = client.create_task("true", agent="shell")
    with pytest.raises(WaitTimedOut) as raised:
        client.wait(task.task_id, timeout=0.2)
    assert raised.value.hint
    assert isinstance(raised.value, TimeoutError)
    assert client.get_task(task.task_id).status == "queued"


def test_values_are_kept_with_their_versions(client):
    task = client.create_task("true", agent="shell")
    assert client.kv_get(task.task_id, "a") is None
    assert client.kv_set(task.task_id, "a", None).value is None
    assert client.kv_cas(task.task_id, "a", {"b": [1]}, version=1).version == 2
    assert [value.key for value in client.kv_list(task.task_id, prefix="a")] == ["a"]


def test_workers_and_the_queue_are_shown(replicas, client):
    before = client.workers_status().queue.queued
    client.create_task("true", agent="scripted", requires=["gpu"])
    queue = client.workers_status().queue
    assert queue.queued == before + 1
    assert (["gpu", "scripted"], 1) in [(waiting.needs, waiting.jobs) for waiting in queue.waiting]
    assert client.list_workers() == []
    assert client.scale_workers(2, capabilities=["shell"]).count == 2
    with pytest.raises(NotFound) as raised:
        client.drain_worker("nobody")
    assert raised.value.reason == "no_such_worker"


def test_events_of_an_agent_are_typed(cluster, ado):
    cluster.add_worker("w1")
    script = '{"agent": {"event": "tool_end", "toolId": "1", "tool": "x", "kind": "bash", "title": "ls", "ok": true}}'
    task = ado.create_task(script, agent="scripted")
    (said,) = [event for event in ado.events(task.task_id) if isinstance(event, AgentToolEnd)]
    assert (said.title, said.ok, said.attempt) == ("ls", True, 1)


def test_every_error_has_a_code_and_the_next_step(replicas, client):
    with pytest.raises(InvalidInput) as raised:
        client.create_task("x", workers=-1)
    assert (raised.value.code, raised.value.reason, bool(raised.value.hint)) == ("BAD_REQUEST", "invalid_input", True)
    with pytest.raises(InvalidInput):
        client.create_task("\ud800")
    with pytest.raises(NotFound) as raised:
        next(client.events("task-999"))
    assert raised.value.reason == "no_such_task"
    with Ado(replicas.urls, replicas.make_token("viewer")) as viewer, pytest.raises(Forbidden):
        viewer.create_task("x")
    with Ado(replicas.urls, "nonsense") as stranger, pytest.raises(Unauthorized) as raised:
        stranger.list_tasks()
    assert raised.value.hint


def test_an_unreachable_server_is_an_error_in_time(closed_port):
    with Ado(f"http://127.0.0.1:{closed_port}", "x", timeout=0.5) as nobody:
        with pytest.raises(Unreachable) as raised:
            nobody.list_tasks()
        assert (raised.value.code, raised.value.reason, bool(raised.value.hint)) == ("UNREACHABLE", None, True)


@pytest.fixture
def closed_port():
    """A port on which nobody listens."""
    with reserved_port() as port:
        yield port


@pytest.mark.parametrize(
    "url", ["", " , ", "ftp://host", "host:1", "http://", "http://host:x", "http://[::1", "http://host:1/trpc"]
)
def test_an_invalid_url_is_refused(monkeypatch, url):
    monkeypatch.delenv("ADO_URL", raising=False)
    with pytest.raises(NotConfigured) as raised:
        Ado(url)
    assert raised.value.hint


@pytest.mark.parametrize("token", ["two words", "line\r\nX: y", "tökn"])
def test_an_invalid_token_is_refused_without_being_shown(token):
    with pytest.raises(NotConfigured) as raised:
        Ado("http://127.0.0.1:9", token)
    assert token not in f"{raised.value} {raised.value.hint}"


def test_a_token_may_end_with_a_line_end(replicas):
    with Ado(replicas.urls, f"{replicas.token}\n") as ado:
        assert ado.list_tasks(limit=1)


def test_several_threads_share_a_client_and_its_end_ends_their_calls(replicas):
    ado = Ado(replicas.urls, replicas.token)
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
