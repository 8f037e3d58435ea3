"""When heartbeats are sent, what they say, and when the worker gives up its jobs."""

import asyncio
import contextlib
import itertools
import queue
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from support.program import write_token
from support.wire import Gate, Served

from app.rpc.client import CallError
from app.rpc.errors import ProcedureError
from app.rpc.server.gate import WireLimits
from app.rpc.server.procedure import mutation
from app.rpc.server.registry import Registry
from worker import lease
from worker.lease import Heartbeat, HeartbeatReport, answer_seconds, refusal_of, waits
from worker.settings import WorkerSettings
from worker.token import WorkerToken

NOWHERE = ("http://127.0.0.1:9",)
REFUSED = {
    code: ProcedureError(code, "no", reason=reason)
    for code, reason in (
        ("UNAUTHORIZED", "token_invalid"),
        ("SERVICE_UNAVAILABLE", "database_unavailable"),
        ("NOT_FOUND", "no_such_worker"),
        ("CONFLICT", "worker_replaced"),
    )
}


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Server:
    """Answers heartbeats with ``answers``, the last one again and again; notes what was sent."""

    def __init__(self, *answers):
        self.answers = list(answers) or [{}]
        self.values = asyncio.Queue()
        self.on_beat = lambda: None

        @mutation(access="read")
        async def beat(context, input: dict) -> dict:
            self.on_beat()
            self.values.put_nowait({**input, "token": context})
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.served = Served(Gate(), WireLimits(), registry=Registry({"workers.heartbeat": beat}))


@pytest.fixture
def token(tmp_path):
    write_token(tmp_path / "token", "writer")
    return tmp_path / "token"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def start(token, clock):
    """Start a heartbeat; what it hands over comes in ``told``, what it reports is taken from ``reports``."""
    async with contextlib.AsyncExitStack() as stack:

        def make(urls=NOWHERE, *, interval=0.01, report=lambda: HeartbeatReport([]), **settings):
            told = asyncio.Queue()
            heartbeat = Heartbeat(
                WorkerSettings(url=urls, worker_id="w", **settings),
                WorkerToken(str(token)),
                {"session": "s", "heartbeatSeconds": interval},
                report,
                lambda answer: told.put_nowait(("answer", answer)),
                lambda reason: told.put_nowait(("refusal", reason)),
                lambda: told.put_nowait(("token", None)),
                clock,
            )
            heartbeat.told = told
            stack.push_async_callback(heartbeat.stop, goodbye=False)
            return heartbeat

        yield make


@pytest.fixture
async def serve():
    async with contextlib.AsyncExitStack() as stack:

        async def make(*answers):
            server = Server(*answers)
            await stack.enter_async_context(server.served)
            server.url = server.served.url
            return server

        yield make


def test_the_first_heartbeat_has_no_delay_and_the_others_are_spread_below_the_interval():
    first, *others = itertools.islice(waits(100.0), 500)
    assert first == 0
    assert 80 <= min(others) < 82
    assert 98 < max(others) <= 100


@pytest.mark.parametrize(("interval", "seconds"), [(0.05, 1), (0.5, 1), (2, 4), (5, 10), (60, 10)])
def test_an_answer_is_waited_for_during_two_intervals_within_bounds(interval, seconds):
    assert answer_seconds(interval) == seconds


def refusal(code="", reason="", **times):
    error = CallError("no", {"code": code, "reason": reason}) if code else None
    return refusal_of(error, **{"silence": 0, "interval": 5, "orphan_seconds": 600} | times)


@pytest.mark.parametrize("reason", ["no_such_worker", "worker_replaced"])
def test_a_worker_that_is_unknown_or_replaced_gives_up_its_jobs_at_once(reason):
    assert refusal("CONFLICT", reason) == reason


def test_a_worker_whose_token_is_refused_gives_up_when_no_newer_token_came_in_time():
    assert refusal("UNAUTHORIZED", "token_invalid", silence=15) is None
    assert refusal("UNAUTHORIZED", "token_invalid", silence=15.1) == "UNAUTHORIZED"


@pytest.mark.parametrize("error", [{}, {"code": "SERVICE_UNAVAILABLE", "reason": "database_unavailable"}])
def test_a_worker_without_a_server_gives_up_after_its_time_as_an_orphan(error):
    assert refusal(**error, silence=600) is None
    assert refusal(**error, silence=600.1) == "orphaned"


async def test_a_heartbeat_names_the_worker_and_lists_exactly_what_it_holds(start, serve):
    server = await serve({"cancel": []})
    reports = queue.SimpleQueue()
    reports.put(HeartbeatReport([("task-1/0", 2), ("task-1/1", 1)]))
    reports.put(HeartbeatReport([], "the disk is full"))
    heartbeat = start((server.url,), report=reports.get)
    first, second = await server.values.get(), await server.values.get()
    reports.put(HeartbeatReport([]))  # the thread waits for a report
    assert abs(datetime.fromisoformat(first.pop("at")) - datetime.now(UTC)) < timedelta(minutes=1)
    assert first == {
        "workerId": "w",
        "session": "s",
        "jobs": [{"jobId": "task-1/0", "attempt": 2}, {"jobId": "task-1/1", "attempt": 1}],
        "load": None,
        "stopped": False,
        "token": "writer",
    }
    assert (second["jobs"], second["load"]) == ([], {"problem": "the disk is full"})
    assert await heartbeat.told.get() == ("answer", {"cancel": []})
    await heartbeat.stop(goodbye=False)


async def test_a_heartbeat_that_fails_is_logged_and_followed_by_the_next(start, caplog):
    failures = iter([RuntimeError("unforeseen")])
    later = threading.Semaphore(0)

    def report():
        for failure in failures:
            raise failure
        later.release()
        return HeartbeatReport([])

    start(report=report)
    assert await asyncio.to_thread(later.acquire, timeout=10)
    assert "heartbeat failed" in caplog.messages


async def test_a_heartbeat_is_answered_by_the_next_server_when_the_first_cannot(start, serve):
    broken, sound = await serve(REFUSED["SERVICE_UNAVAILABLE"]), await serve({"drain": True})
    heartbeat = start((broken.url, sound.url), interval=3600)
    assert await heartbeat.told.get() == ("answer", {"drain": True})
    assert (broken.values.qsize(), sound.values.qsize()) == (1, 1)


async def test_a_worker_that_no_server_answers_is_told_so_once_its_time_is_over(start, clock):
    heartbeat = start(orphan_seconds=600)
    clock.now += 601
    assert await heartbeat.told.get() == ("refusal", "orphaned")


async def test_an_answer_begins_the_time_without_a_server_anew(start, serve, clock, monkeypatch):
    # a call that is repeated on a busy machine would move the clock once more
    monkeypatch.setattr(lease, "answer_seconds", lambda _: 60.0)
    server = await serve({}, REFUSED["SERVICE_UNAVAILABLE"], REFUSED["NOT_FOUND"])
    clock.now += 50
    heartbeat = start((server.url,), orphan_seconds=600, stall_seconds=10_000)

    def pass_time():
        clock.now += 400

    server.on_beat = pass_time
    assert await heartbeat.told.get() == ("answer", {})
    assert await heartbeat.told.get() == ("refusal", "no_such_worker")
    await heartbeat.stop(goodbye=False)  # while the server still answers, else the last call waits for its answer


async def test_a_refused_token_is_handed_over_when_no_newer_one_came_in_time(start, serve, clock):
    server = await serve(REFUSED["UNAUTHORIZED"])
    heartbeat = start((server.url,))
    for _ in range(3):
        await server.values.get()
    assert heartbeat.told.empty()
    clock.now += 11
    assert await heartbeat.told.get() == ("refusal", "UNAUTHORIZED")


async def test_a_renewed_token_is_used_by_the_next_heartbeat_and_announced_once(start, serve, token):
    server = await serve({})
    heartbeat = start((server.url,))
    assert (await server.values.get())["token"] == "writer"
    token.write_text("reader")
    while (await server.values.get())["token"] != "reader":
        pass
    await server.values.get()
    await heartbeat.stop(goodbye=False)
    told = [heartbeat.told.get_nowait()[0] for _ in range(heartbeat.told.qsize())]
    assert told.count("token") == 1


@pytest.fixture
def stalls():
    """A semaphore that each log record of a stalled loop releases, in the thread that logs."""
    semaphore = threading.Semaphore(0)

    def note(record):
        if record.msg == "event loop stalled":
            semaphore.release()
        return True

    lease._log.addFilter(note)
    yield semaphore
    lease._log.removeFilter(note)


async def test_no_heartbeat_is_sent_while_the_event_loop_is_blocked(start, clock, stalls):
    """The test blocks the loop: it waits for the thread without awaiting."""
    beats = threading.Semaphore(0)

    def report():
        beats.release()
        return HeartbeatReport([])

    start(report=report, stall_seconds=60)
    clock.now += 60
    for _ in range(3):
        assert beats.acquire(timeout=60)
    clock.now += 0.1
    assert stalls.acquire(timeout=60)
    while beats.acquire(blocking=False):
        pass
    for _ in range(3):
        assert stalls.acquire(timeout=60)
    assert not beats.acquire(blocking=False)


async def test_a_running_event_loop_is_noticed_again_and_again(start, clock, monkeypatch):
    monkeypatch.setattr(lease, "_TICK_SECONDS", 0.001)
    beats = threading.Semaphore(0)

    def report():
        beats.release()
        return HeartbeatReport([])

    start(report=report, stall_seconds=60)
    for _ in range(3):
        clock.now += 61
        while beats.acquire(blocking=False):
            pass
        for _ in range(2):
            assert await asyncio.to_thread(beats.acquire, timeout=10)


async def test_a_worker_that_ends_says_so_until_a_server_has_heard_it(start, serve):
    server = await serve({})
    heartbeat = start((server.url,), interval=3600, report=lambda: HeartbeatReport([("task-1/0", 1)]))
    assert not (await server.values.get())["stopped"]
    server.answers = [REFUSED["SERVICE_UNAVAILABLE"], REFUSED["SERVICE_UNAVAILABLE"], {}]
    await heartbeat.stop(goodbye=True)
    assert [server.values.get_nowait()["stopped"] for _ in range(server.values.qsize())] == [True] * 3


@pytest.mark.parametrize("error", ["UNAUTHORIZED", "NOT_FOUND", "CONFLICT"])
async def test_a_goodbye_that_is_refused_for_good_is_not_repeated(start, serve, error):
    """After a goodbye whose answer was lost, the server refuses a token for one process."""
    server = await serve({}, REFUSED[error])
    heartbeat = start((server.url,), interval=3600)
    await server.values.get()
    await heartbeat.stop(goodbye=True)
    assert server.values.qsize() == 1


async def test_a_goodbye_that_no_server_hears_is_repeated_after_a_pause_and_ends_after_a_while(
    start, serve, clock, monkeypatch
):
    pauses = []
    monkeypatch.setattr(lease, "time", SimpleNamespace(sleep=pauses.append))
    server = await serve({}, REFUSED["SERVICE_UNAVAILABLE"])
    heartbeat = start((server.url,), interval=3600)
    await server.values.get()

    def pass_time():
        clock.now += 1

    server.on_beat = pass_time
    await heartbeat.stop(goodbye=True)
    assert server.values.qsize() == 2
    assert pauses == [0.1]


async def test_a_worker_that_goes_on_says_no_goodbye(start, serve):
    server = await serve({})
    heartbeat = start((server.url,), interval=3600)
    await server.values.get()
    await heartbeat.stop(goodbye=False)
    assert server.values.empty()
    assert "heartbeat tick" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_a_broken_worker_does_not_wait_for_its_heartbeat(start):
    start()
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "heartbeat"] == [True]
