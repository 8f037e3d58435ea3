"""Setup and checks of tasks, through two replicas and a worker: what they decide, what the log has, what they leave."""

import json
import os
import re
import subprocess

import pytest
from support.postgres import fast_directory, remove
from support.program import Cluster, processes_with, until


@pytest.fixture(scope="module")
def cluster(shared_dsn):
    home = fast_directory()
    made = Cluster(shared_dsn, home)
    try:
        made.add_replicas(2)
        made.add_worker("main", "--slots", "4")
        yield made
    finally:
        made.close()
        remove(home)


def run(cluster, *more, prompt="true", agent="shell", code=0):
    """Run a task to its end; return it, with what the command wrote to stdout and to stderr."""
    done = cluster.ado("run", "--remote", "--no-repo", "--agent", agent, *more, prompt, check=code)
    task = re.search(rb"task-\d+", done.stderr)[0].decode()
    return task, done.stdout.decode(), done.stderr.decode()


def events(cluster, task, kind):
    rows = cluster.sql(
        "select body, data from ado.events where task_id = %s and type = %s order by seq",
        int(task.removeprefix("task-")), kind,
    )  # fmt: skip
    return [{**(body or {}), **({"data": bytes(data).decode()} if data else {})} for body, data in rows]


def test_a_task_succeeds_when_every_check_passes_in_the_agents_directory(cluster):
    checks = ("--setup", "echo begun > setup", "--check", "test -f work", "--check", "cat setup work")
    task, out, shown = run(cluster, *checks, prompt="cat setup; echo done > work; echo mine")
    assert out == "begun\nmine\n"
    assert "check: begun\ncheck: done\n" in shown
    ran = events(cluster, task, "check")
    assert [(check["command"], check["exitCode"], check["try"]) for check in ran] == [
        ("test -f work", 0, 1),
        ("cat setup work", 0, 1),
    ]
    written = {}
    for event in events(cluster, task, "output"):  # how the bytes are divided into events depends on the time
        source = event.get("source")
        written[source] = written.get(source, "") + event["data"]
    assert written == {None: "begun\nmine\n", "check": "begun\ndone\n"}
    assert cluster.task(task)["checks"] == {
        "setup": "echo begun > setup",
        "commands": ["test -f work", "cat setup work"],
        "tries": 3,
        "timeoutSeconds": 600,
    }


def test_a_failed_setup_ends_the_job_before_the_agent_starts(cluster):
    task, out, shown = run(cluster, "--setup", "echo no registry >&2; exit 5", prompt="echo never", code=5)
    job = cluster.task(task)["jobs"][0]
    assert (out, job["reason"], job["exitCode"]) == ("", "setup_failed", 5)
    assert "setup: no registry\n" in shown
    assert "exit 5" in job["message"]


def test_a_check_that_a_program_fails_ends_the_task_at_once_with_the_checks_name_and_code(cluster):
    task, _, shown = run(cluster, "--check", "true", "--check", "echo red; exit 3", "--check", "true", code=3)
    job = cluster.task(task)["jobs"][0]
    assert (job["status"], job["reason"], job["exitCode"]) == ("failed", "check_failed", 3)
    assert "'echo red; exit 3'" in job["message"]
    assert [check["exitCode"] for check in events(cluster, task, "check")] == [0, 3]
    assert "check: red\n" in shown


def test_an_agent_gets_the_end_of_the_output_of_a_failed_check_and_may_mend_it(cluster):
    check = "echo look at line 7; test -f tried || { touch tried; exit 1; }"
    task, out, _ = run(cluster, "--check", check, agent="scripted", prompt=json.dumps({"say": "worked"}))
    assert [(check["exitCode"], check["try"]) for check in events(cluster, task, "check")] == [(1, 1), (0, 2)]
    assert out.startswith("worked\nheard: A check of your work has failed:")
    assert "ended with exit code 1" in out
    assert "look at line 7" in out


def test_an_agent_has_as_many_tries_as_the_task_says(cluster):
    task, out, _ = run(cluster, "--check", "exit 9", "--check-tries", "2", agent="scripted", prompt="{}", code=9)
    job = cluster.task(task)["jobs"][0]
    assert (job["reason"], job["attempt"]) == ("check_failed", 1)
    assert job["message"].endswith("at try 2 of 2")
    assert [check["try"] for check in events(cluster, task, "check")] == [1, 2]
    assert out.count("heard:") == 1


def test_a_check_that_does_not_exist_is_one_clear_error_and_no_work_for_the_agent(cluster):
    task, out, _ = run(cluster, "--check", "no-such-check --all", agent="scripted", prompt="{}", code=127)
    job = cluster.task(task)["jobs"][0]
    assert job["reason"] == "check_failed"
    assert re.search("'no-such-check --all' could not be run: .*not found", job["message"])
    assert len(events(cluster, task, "check")) == 1
    assert "heard" not in out


def test_a_check_that_hangs_ends_at_its_limit_with_all_its_processes(cluster):
    mark = f"hung_{os.getpid()}"
    check = f"(exec -a {mark} sleep 600) & wait"
    task, _, _ = run(cluster, "--check", f"bash -c '{check}'", "--check-timeout", "1s", code=124)
    job = cluster.task(task)["jobs"][0]
    assert (job["reason"], job["exitCode"]) == ("check_failed", 124)
    assert "took longer than 1 s" in job["message"]
    assert not processes_with(mark)


@pytest.mark.parametrize("source", ["--check", "--setup"])
def test_a_cancelled_task_leaves_nothing_of_a_command_that_runs(cluster, source):
    mark = f"ends_{os.getpid()}_{source.strip('-')}"
    command = f"bash -c 'exec -a {mark} sleep 600'"
    words = ["run", "--remote", "--detach", "-o", "name", "--no-repo", "--agent", "shell", source, command, "true"]
    task = cluster.ado(*words, check=0).stdout.decode().strip()
    until(lambda: processes_with(mark), "the command to run")
    cluster.ado("cancel", task, check=0)
    until(lambda: cluster.task(task)["status"] == "cancelled", "the task to end")
    assert not processes_with(mark)


def test_a_killed_worker_leaves_nothing_of_a_check_and_the_next_attempt_runs_it_again(cluster, tmp_path):
    mark, gate = f"orphan_{os.getpid()}", tmp_path / "gate"
    worker = cluster.add_worker("dies", "--capability", "shell", "--capability", "here")
    check = f"test -f {gate} || bash -c 'exec -a {mark} sleep 600'"
    words = ["run", "--remote", "--detach", "-o", "name", "--no-repo", "--agent", "shell", "--require", "here"]
    task = cluster.ado(*words, "--check", check, "true", check=0).stdout.decode().strip()
    until(lambda: processes_with(mark), "the check to run")
    worker.kill()
    until(lambda: not processes_with(mark), "the check's processes to end")
    gate.touch()
    cluster.add_worker("comes", "--capability", "shell", "--capability", "here")
    until(lambda: cluster.task(task)["status"] == "succeeded", "the next attempt to succeed")
    assert cluster.task(task)["jobs"][0]["attempt"] == 2
    for name in ("dies", "comes"):
        cluster.ado("workers", "drain", name)


def test_tries_and_a_time_limit_need_a_command(cluster):
    done = cluster.ado("run", "--remote", "--agent", "shell", "--check-tries", "2", "true", check=2)
    assert b"--check CMD" in done.stderr


def test_a_repositorys_file_gives_setup_and_checks_only_if_the_repository_is_sent(cluster, tmp_path):
    (tmp_path / ".ado.toml").write_text('setup = "echo ready > made"\ncheck = "cat made"\n')
    named = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for words in (["init", "-q"], ["add", "."], [*named, "commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    words = ["run", "--remote", "--agent", "shell", "true"]
    sent = cluster.ado(*words, "--repo", check=0, cwd=tmp_path).stderr.decode()
    assert ".ado.toml: check ['cat made'], setup 'echo ready > made'" in sent
    assert "check: ready\n" in sent
    assert not (tmp_path / "made").exists()
    assert b".ado.toml" not in cluster.ado(*words, "--no-repo", check=0, cwd=tmp_path).stderr
