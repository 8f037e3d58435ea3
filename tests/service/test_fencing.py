"""Workers that pause, return, are replaced, hang or go silent: the job continues; a late attempt changes nothing."""

import contextlib
import json
import os
import signal
import sys

import pytest
from support.link import Link
from support.program import exists, processes_with, until

from app.rpc.client import CallError, HttpClient


@pytest.fixture
def pair(cluster):
    """Two workers, each with a capability of its own beside the shell."""
    first, second = cluster.urls
    cluster.w0 = cluster.add_worker("w0", "--capability", "shell", "--capability", "zero", url=f"{first},{second}")
    cluster.w1 = cluster.add_worker("w1", "--capability", "shell", "--capability", "one", url=f"{second},{first}")
    until(lambda: len(states(cluster)) == 2, "two workers")
    return cluster


def states(cluster):
    return dict(cluster.sql("select worker_id, state from ado.worker_status where last_heartbeat_at is not null"))


def start(cluster, script, *options):
    """Start a task and return its id."""
    arguments = ["run", "--remote", "--detach", "-o", "name", "--agent", "shell", *options]
    return cluster.ado(*arguments, script, check=0).stdout.decode().strip()


def job(cluster, task, index=0):
    ask = "select status, attempt, worker_id, losses from ado.jobs where task_id = %s and job = %s"
    return cluster.sql(ask, int(task.removeprefix("task-")), index)[0]


def runs(cluster, task, attempt=1):
    """Wait until an attempt runs; return the worker's id."""
    until(lambda: job(cluster, task)[:2] == ("running", attempt), f"attempt {attempt} of {task}", 60)
    return job(cluster, task)[2]


TOLD = ("started", "requeued", "released", "finished", "succeeded", "failed", "cancelled")


def history(cluster, task):
    """Return (type, attempt, reason) of a task's events, output left out; ``seq`` has no gap."""
    ask = "select seq, type, attempt, body ->> 'reason' from ado.events where task_id = %s order by seq"
    rows = cluster.sql(ask, int(task.removeprefix("task-")))
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    return [row[1:] for row in rows if row[1] in TOLD]


def marker(name):
    return f"ado-{name}-{os.getpid()}"


def stubborn(word, last=2):
    """A script whose attempts before the last write for ever, with a descendant in a session of its own."""
    return (
        f"echo begin $ADO_ATTEMPT; [ $ADO_ATTEMPT = {last} ] && exit 0; "
        f"setsid sh -c ': {word}; sleep 300' & while :; do echo {word} $ADO_ATTEMPT; sleep 0.05; done"
    )


def test_a_worker_paused_beyond_its_lease_writes_nothing_and_recovers(pair):
    word = marker("stopped")
    task = start(pair, stubborn(word), "--require", "shell")
    holder = runs(pair, task)
    process = pair.w0 if holder == "w0" else pair.w1
    until(lambda: processes_with(f": {word}; sleep"), "the descendant")
    process.send_signal(signal.SIGSTOP)
    pair.ado("wait", task, check=0, timeout=90)
    kept = pair.sql("select count(*) from ado.events where task_id = 1")
    process.send_signal(signal.SIGCONT)
    until(lambda: not processes_with(word), "the whole tree of the late attempt to be gone")
    assert pair.sql("select count(*) from ado.events where task_id = 1") == kept
    events = pair.events(task)
    over = next(event["seq"] for event in events if event["type"] == "requeued")
    assert not [event for event in events if event["attempt"] == 1 and event["seq"] > over]
    assert history(pair, task) == [
        ("started", 1, None), ("requeued", 1, "lost"), ("started", 2, None), ("finished", 2, None),
        ("succeeded", None, None),
    ]  # fmt: skip
    pair.ado("run", "--remote", "--agent", "shell", "--require", "zero" if holder == "w0" else "one", "true", check=0)
    assert job(pair, "task-2")[2] == holder


def test_every_replica_answers_late_calls_with_lease_lost(pair):
    """Append, finish and heartbeat of an attempt that was given away, through the replica that did not give it."""
    with raw_worker(pair, "raw") as (first, second, session):
        task = start(pair, "true", "--require", "raw")
        claimed = claim(first, session)
        fence = {"workerId": "raw", "jobId": f"{task}/0", "attempt": 1}
        pair.sql("update ado.jobs set lease_expires_at = now() - interval '1 minute' returning 1")
        until(lambda: job(pair, task)[0] == "queued", "the lease's end")
        for client in (first, second):
            for path, more in (
                ("workers.append", {"batch": 1, "events": [{"type": "output", "data": "late"}]}),
                ("workers.finish", {"outcome": "succeeded", "lastBatch": 0}),
            ):
                with pytest.raises(CallError) as refused:
                    client.mutate(path, {**fence, **more})
                assert (refused.value.code, refused.value.reason) == ("CONFLICT", "lease_lost")
            ref = {"jobId": f"{task}/0", "attempt": 1}
            beat = client.mutate("workers.heartbeat", {"workerId": "raw", "session": session, "jobs": [ref]})
            assert beat == {"lost": [ref], "cancel": [], "pause": [], "drain": False}
        assert claimed["token"] not in json.dumps(pair.task(task))
        assert history(pair, task) == [("started", 1, None), ("requeued", 1, "lost")]


@contextlib.contextmanager
def raw_worker(cluster, name):
    """A worker that speaks the protocol by hand, through both replicas."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(HttpClient([url], cluster.token))) for url in cluster.urls]
        wish = {"workerId": name, "capabilities": ["shell", name], "slots": 5, "instance": "1"}
        yield (*clients, clients[0].mutate("workers.register", wish)["session"])


def claim(client, session):
    """Claim the one job there is, with a heartbeat before: silent workers get none."""
    me = {"workerId": "raw", "session": session}

    def once():
        client.mutate("workers.heartbeat", {**me, "jobs": []})
        return client.mutate("workers.claim", me)["jobs"]

    (claimed,) = until(once, "the job")
    return claimed


def test_a_lost_answer_of_claim_or_finish_is_repeated(pair):
    with raw_worker(pair, "raw") as (first, second, session):
        task = start(pair, "true", "--require", "raw")
        me = {"workerId": "raw", "session": session}
        claim(first, session)
        second.mutate("workers.heartbeat", {**me, "jobs": []})
        assert job(pair, task)[:2] == ("running", 1)
        first.mutate("workers.heartbeat", {**me, "jobs": []})
        assert job(pair, task)[:2] == ("queued", 1)
        claim(second, session)
        report = {"workerId": "raw", "jobId": f"{task}/0", "attempt": 2, "lastBatch": 0}
        ended = first.mutate("workers.finish", {**report, "outcome": "succeeded", "exitCode": 0})
        assert second.mutate("workers.finish", {**report, "outcome": "failed", "exitCode": 9}) == ended
        assert history(pair, task) == [
            ("started", 1, None), ("requeued", 1, "claim_lost"), ("started", 2, None), ("finished", 2, None),
            ("succeeded", None, None),
        ]  # fmt: skip
        assert job(pair, task)[3] == 0


def test_a_worker_survives_lost_answers_of_claim_and_finish(cluster):
    """The link lets calls through and swallows the answers, then breaks."""
    host, port = cluster.urls[0].removeprefix("http://").split(":")
    with Link((host, int(port))) as link:
        cluster.add_worker("w0", url=link.url)
        until(lambda: states(cluster) == {"w0": "idle"}, "the worker")
        heartbeat = "select last_heartbeat_at from ado.workers"
        registered = cluster.sql(heartbeat)
        until(
            lambda: cluster.sql(heartbeat) > registered,
            "the worker to know its session and wait for a job",
        )
        gate = cluster.home / "gate"
        link.stop("down")
        task = start(cluster, f"echo attempt $ADO_ATTEMPT; until [ -e {gate} ]; do sleep 0.05; done")
        until(lambda: job(cluster, task)[1] == 1, "the claim", 60)
        link.cut()
        link.go()
        runs(cluster, task, 2)
        until(lambda: b"attempt 2" in cluster.ado("logs", task).stdout, "output")
        link.stop("down")
        gate.touch()
        until(lambda: job(cluster, task)[0] == "succeeded", "the finish", 60)
        link.cut()
        link.go()
        until(lambda: states(cluster) == {"w0": "idle"}, "the worker to be free")
        assert history(cluster, task) == [
            ("started", 1, None), ("requeued", 1, "claim_lost"), ("started", 2, None), ("finished", 2, None),
            ("succeeded", None, None),
        ]  # fmt: skip
        cluster.ado("run", "--remote", "--agent", "shell", "true", check=0)


def test_a_second_process_under_an_id_replaces_the_first_and_gets_its_job(pair):
    word = marker("replaced")
    task = start(pair, stubborn(word), "--require", "zero")
    runs(pair, task)
    second = pair.add_worker("w0", "--capability", "shell", "--capability", "zero")
    assert pair.w0.wait(60) == 1
    until(lambda: not processes_with(word), "the first one's agent to be gone")
    pair.ado("wait", task, check=0)
    assert history(pair, task)[:3] == [("started", 1, None), ("requeued", 1, "worker_replaced"), ("started", 2, None)]
    assert exists(second.pid)


def test_a_restarted_worker_under_its_id_continues_without_delay(pair):
    task = start(pair, stubborn(marker("again")), "--require", "zero")
    runs(pair, task)
    pair.w0.kill()
    pair.w0.wait()
    # only the restart can end the attempt: a worker that starts slowly would find that its lease had run out
    pair.sql("update ado.jobs set lease_expires_at = now() + interval '1 hour' where status = 'running' returning 1")
    pair.add_worker("w0", "--capability", "shell", "--capability", "zero")
    pair.ado("wait", task, check=0)
    assert ("requeued", 1, "worker_replaced") in history(pair, task)


WEDGED = """
import os, signal, time
def wedge(*_):
    while not os.path.exists({release!r}):
        time.sleep(0.02)
signal.signal(signal.SIGUSR1, wedge)
from cli.__main__ import main
main()
"""


def test_a_worker_with_a_stuck_event_loop_loses_its_job_and_recovers(pair):
    """The heartbeat's thread lives on and must not speak for it."""
    release = pair.home / "release"
    pair.env["ADO_STALL_SECONDS"] = "1"
    word = marker("wedged")
    arguments = [
        "worker",
        "--id",
        "stuck",
        "--url",
        ",".join(pair.urls),
        "--token-file",
        str(pair.home / "admin-token"),
    ]
    arguments += ["--capability", "shell", "--capability", "stuck", "--work-dir", str(pair.home / "work")]
    process = pair.launch([sys.executable, "-P", "-c", WEDGED.format(release=str(release)), *arguments])
    until(lambda: states(pair).get("stuck") == "idle", "the worker")
    task = start(pair, stubborn(word), "--require", "stuck")
    runs(pair, task)
    process.send_signal(signal.SIGUSR1)
    until(lambda: job(pair, task)[:2] == ("queued", 1), "the lease's end", 60)
    release.touch()
    pair.ado("wait", task, check=0)
    until(lambda: not processes_with(word), "the late attempt to be gone")
    assert history(pair, task)[:3] == [("started", 1, None), ("requeued", 1, "lost"), ("started", 2, None)]


def test_output_after_sigterm_is_stored_before_the_end(pair):
    """Cancelled, timed out or handed back: an exit code of 0 after SIGTERM is no success."""
    script = "trap 'echo bye; exit 0' TERM; echo hello; while :; do sleep 0.05; done"
    cancelled = start(pair, script, "--require", "zero")
    timed_out = start(pair, script, "--require", "one", "--timeout", "2s")
    runs(pair, cancelled)
    until(lambda: b"hello" in pair.ado("logs", cancelled).stdout, "output")
    pair.ado("cancel", cancelled, check=0, url=pair.urls[1])
    pair.ado("wait", cancelled, check=1)
    pair.ado("wait", timed_out, check=124)
    for task, outcome in ((cancelled, "cancelled"), (timed_out, "failed")):
        events = pair.events(task)
        said = "".join(event["data"] for event in events if event.get("stream") == "stdout")
        assert said == "hello\nbye\n"
        assert [event["type"] for event in events[-2:]] == ["finished", outcome]
    handed_back = start(pair, script.replace("echo hello", "[ $ADO_ATTEMPT = 2 ] && exit 0"), "--require", "zero")
    runs(pair, handed_back)
    pair.w0.terminate()
    assert pair.w0.wait(60) == 0
    assert history(pair, handed_back) == [("started", 1, None), ("released", 1, "shutdown")]
    pair.add_worker("w0", "--capability", "shell", "--capability", "zero")
    pair.ado("wait", handed_back, check=0)
    assert job(pair, handed_back)[3] == 0
