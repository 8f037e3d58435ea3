"""The main job through two replicas: run, watch, detach, reattach, exit codes, and the loss of a process."""

import hashlib
import json
import os
import re
import signal
import subprocess

import pytest
from support.program import exists, processes_with, until


def with_workers(cluster):
    first, second = cluster.urls
    cluster.add_worker("w0", url=f"{first},{second}")
    cluster.add_worker("w1", url=f"{second},{first}")
    cluster.add_worker("w2", url=f"{first},{second}")
    cluster.await_idle("w0", "w1", "w2")
    return cluster


@pytest.fixture(scope="module")
def workers(shared_cluster):
    """Three workers for the tests that end none."""
    return with_workers(shared_cluster)


@pytest.fixture
def own_workers(cluster):
    """Three workers of the test's own, which it may end."""
    return with_workers(cluster)


def test_three_workers_give_nine_whole_lines_and_any_replica_replays_them(workers):
    script = 'for i in 1 2 3; do echo "worker $ADO_JOB_INDEX step $i"; done'
    done = workers.ado("run", "--remote", "--workers", "3", "--agent", "shell", script, check=0, url=workers.urls[0])
    lines = sorted(done.stdout.decode().splitlines())
    assert lines == [f"[{job}] worker {job} step {step}" for job in range(3) for step in (1, 2, 3)]
    assert b"succeeded" in done.stderr
    replayed = workers.ado("attach", workers.last_task(), check=0, url=workers.urls[1])
    assert replayed.stdout == done.stdout
    status = json.loads(workers.ado("workers", "status", "-o", "json", check=0).stdout)
    assert {worker["workerId"] for worker in status["workers"]} == {"w0", "w1", "w2"}


def test_the_exit_code_of_the_command_is_returned(workers):
    done = workers.ado("run", "--remote", "--agent", "shell", "echo out; echo err >&2; exit 7", check=7)
    assert done.stdout == b"out\n"
    assert b"err\n" in done.stderr
    assert workers.task(workers.last_task())["jobs"][0]["exitCode"] == 7


def test_a_signal_and_a_large_code_are_mirrored(workers):
    workers.ado("run", "--remote", "--agent", "shell", "exit 200", check=200)
    workers.ado("run", "--remote", "--agent", "shell", "kill -9 $$", check=137)
    assert workers.task(workers.last_task())["jobs"][0]["exitCode"] == 128 + 9


def test_a_timeout_ends_the_attempt_with_124(workers):
    workers.ado("run", "--remote", "--agent", "shell", "--timeout", "1s", "sleep 60", check=124)
    assert workers.task(workers.last_task())["reason"] == "timed_out"


def test_bytes_arrive_unchanged(workers):
    """50 MB of random bytes, through two replicas, have the same digest."""
    script = "head -c 50000000 /dev/urandom > f; sha256sum < f >&2; cat f"
    done = workers.ado("run", "--remote", "--agent", "shell", script, check=0, timeout=120)
    wanted = re.search(rb"([0-9a-f]{64})  -", done.stderr)[1].decode()
    assert hashlib.sha256(done.stdout).hexdigest() == wanted
    raw = workers.ado("logs", workers.last_task(), "--raw", check=0, url=workers.urls[1], timeout=120)
    # --raw is the job's stdout and stderr in the order they were written
    assert hashlib.sha256(raw.stdout.replace(f"{wanted}  -\n".encode(), b"", 1)).hexdigest() == wanted


def test_a_million_short_lines_arrive_complete_and_in_order(workers):
    done = workers.ado("run", "--remote", "--agent", "shell", "seq 1000000", check=0, timeout=120)
    assert done.stdout == b"".join(b"%d\n" % number for number in range(1, 1_000_001))


def test_a_killed_worker_loses_an_attempt_and_leaves_no_process(own_workers):
    marker = f"ado-test-{os.getpid()}"
    script = f"echo attempt $ADO_ATTEMPT; setsid sh -c ': {marker}; sleep 300' & [ $ADO_ATTEMPT = 2 ] || sleep 300"
    watching = own_workers.open("run", "--remote", "--agent", "shell", script)
    worker = until(lambda: next(iter(running_on(own_workers)), None), "the job to run")
    until(lambda: processes_with(marker), "the agent's child")
    until(lambda: own_workers.sql("select from ado.events where type = 'output'"), "the first attempt's output")
    victim = next(process for process in own_workers.processes if worker in process.args)
    victim.kill()
    out, _ = watching.communicate(timeout=60)
    assert watching.returncode == 0
    assert out == b"attempt 1\nattempt 2\n"
    until(lambda: not processes_with(marker), "every descendant to be gone")
    events = own_workers.events("task-1")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events if event["type"] in ("started", "requeued", "finished")] == [
        "started", "requeued", "started", "finished",
    ]  # fmt: skip


def tasks(cluster):
    return json.loads(cluster.ado("tasks", "list", "-o", "json", check=0).stdout)["items"]


def running_on(cluster):
    return [job["workerId"] for task in tasks(cluster) for job in task["jobs"] if job["status"] == "running"]


def test_viewers_of_a_killed_replica_lose_no_event(own_workers):
    script = "for i in $(seq 1 60); do echo line $i; sleep 0.05; done"
    urls = f"{own_workers.urls[0]},{own_workers.urls[1]}"
    watching = own_workers.open("run", "--remote", "--agent", "shell", script, url=urls)
    assert watching.stdout.readline() == b"line 1\n"
    own_workers.replicas[0].kill()
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, err
    assert out == b"".join(b"line %d\n" % number for number in range(2, 61))
    assert b"connection lost" in err


def test_cancel_ends_the_agent_and_its_children_through_any_replica(workers):
    marker = f"ado-cancel-{os.getpid()}"
    workers.ado("run", "--remote", "--detach", "--agent", "shell", f"setsid sh -c ': {marker}; sleep 300'", check=0)
    until(lambda: processes_with(marker), "the agent to run")
    workers.ado("cancel", workers.last_task(), "--reason", "enough", check=0, url=workers.urls[1])
    workers.ado("wait", workers.last_task(), check=1)
    until(lambda: not processes_with(marker), "every descendant to be gone")
    kinds = [event["type"] for event in workers.events(workers.last_task())]
    assert kinds[-2:] == ["finished", "cancelled"]
    assert kinds.count("cancelled") == 1
    workers.ado("retry", workers.last_task(), check=0)
    workers.ado("cancel", workers.last_task(), check=0)
    workers.ado("wait", workers.last_task(), check=1)


def test_ctrl_c_detaches_and_the_task_continues(workers, tmp_path):
    script = f"echo begin; until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo end"
    watching = workers.open("run", "--remote", "--agent", "shell", script)
    assert watching.stdout.readline() == b"begin\n"
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=60)
    assert watching.returncode == 130
    assert f"ado attach {workers.last_task()}".encode() in err
    (tmp_path / "go").touch()
    assert workers.ado("attach", workers.last_task(), check=0).stdout == b"begin\nend\n"


def test_a_stopped_worker_releases_its_job(own_workers):
    script = "echo attempt $ADO_ATTEMPT; [ $ADO_ATTEMPT = 2 ] || sleep 300"
    watching = own_workers.open("run", "--remote", "--agent", "shell", script)
    assert watching.stdout.readline() == b"attempt 1\n"
    held = next(job["workerId"] for job in own_workers.task("task-1")["jobs"])
    victim = next(process for process in own_workers.processes if held in process.args)
    victim.send_signal(signal.SIGTERM)
    assert victim.wait(60) == 0
    out, _ = watching.communicate(timeout=60)
    assert (watching.returncode, out) == (0, b"attempt 2\n")
    assert "released" in [event["type"] for event in own_workers.events("task-1")]
    listed = json.loads(own_workers.ado("workers", "list", "-o", "json").stdout)["items"]
    states = {worker["workerId"]: worker["state"] for worker in listed}
    assert states[held] == "stopped"


def test_a_drained_worker_finishes_its_job_and_ends(own_workers):
    watching = own_workers.open("run", "--remote", "--agent", "shell", "echo begin; sleep 1; echo end")
    assert watching.stdout.readline() == b"begin\n"
    held = next(job["workerId"] for job in own_workers.task("task-1")["jobs"])
    own_workers.ado("workers", "drain", held, check=0)
    out, _ = watching.communicate(timeout=60)
    assert (watching.returncode, out) == (0, b"end\n")
    victim = next(process for process in own_workers.processes if held in process.args)
    assert victim.wait(60) == 0


def test_a_job_for_an_agent_without_workers_waits_with_the_reason(workers):
    watching = workers.open("run", "--remote", "--wait-for-agent", "--agent", "claude-code", "hello")
    line = b""
    while b"waiting" not in line:
        line = watching.stderr.readline()
        assert line, "the command ended"
    assert b"claude-code" in line
    workers.ado("cancel", workers.last_task(), check=0)
    watching.communicate(timeout=60)
    assert watching.returncode == 1


def test_the_scripted_agent_reports_progress_and_retries_count(workers):
    script = '{"progress": {"percent": 50, "message": "half"}}\n{"say": "hello"}\n{"exit": 3}'
    done = workers.ado("run", "--remote", "--agent", "scripted", "--retries", "1", script, check=3)
    assert done.stdout == b"hello\nhello\n"
    assert b"50% half" in done.stderr
    assert workers.task(workers.last_task())["jobs"][0]["attempt"] == 2


def test_fail_fast_stops_the_siblings(workers):
    script = "if [ $ADO_JOB_INDEX = 0 ]; then exit 5; fi; sleep 300"
    workers.ado("run", "--remote", "--agent", "shell", "--workers", "5", "--fail-fast", script, check=5)
    task = workers.task(workers.last_task())
    assert [job["status"] for job in task["jobs"]] == ["failed", *["cancelled"] * 4]
    assert {job["reason"] for job in task["jobs"][1:]} == {"sibling_failed"}


def test_a_stopped_cluster_leaves_no_process(own_workers):
    pids = [process.pid for process in own_workers.processes]
    own_workers.close()
    assert not [pid for pid in pids if exists(pid)]


def test_a_closed_stdout_ends_the_command_without_an_error(workers):
    workers.ado("run", "--remote", "--agent", "shell", "seq 100000", check=0)
    env = workers.client_env()
    command = f"{os.fsdecode(workers.processes[0].args[0])} -P -m cli logs {workers.last_task()} | head -n 1"
    done = subprocess.run(command, shell=True, env=env, cwd="/", capture_output=True, timeout=60, check=False)
    assert done.stdout == b"1\n"
    assert b"Traceback" not in done.stderr
