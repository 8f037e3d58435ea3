"""The control plane on a laptop: one command brings it up, several share it, killing it costs nothing."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import psycopg
import pytest
from psycopg import conninfo
from support.program import FAST, exists, processes_with, until

SCRIPT = 'for i in 1 2 3; do echo "worker $ADO_JOB_INDEX step $i"; done'


@pytest.fixture
def ado(home):
    """The program with a home of its own and no configuration; what it started is stopped at the end."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ADO_", "CI"))}
    env.update(FAST, ADO_HOME=str(home))
    started = []

    def run(*arguments, wait=True, timeout=120, **more):
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", *arguments],
            env={**env, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
        )
        started.append(process)
        if not wait:
            return process
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    yield run
    for process in started:
        process.kill()
        process.communicate()  # an open pipe would be an error of a later test
    run("down")
    until(lambda: not processes_with(str(home)), "every process of the home to be gone")


def state(ado):
    return json.loads(ado("status", "-o", "json").stdout)


def test_up_starts_the_control_plane_and_down_ends_it(ado, home):
    done = ado("run", "--remote", "--workers", "3", "--agent", "shell", SCRIPT)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.decode().splitlines()) == [
        f"[{job}] worker {job} step {step}" for job in range(3) for step in (1, 2, 3)
    ]
    assert b"starting a control plane" in done.stderr
    found = state(ado)
    assert (home / "token").stat().st_mode & 0o777 == 0o600
    assert found["tokenFile"] == str(home / "token")
    assert {process["role"] for process in found["processes"]} == {"control-plane", "api", "spawner", "postgres"}

    def known():
        """Return the workers once there is one for each job: the first may do all jobs before the last has begun."""
        listed = json.loads(ado("workers", "status", "-o", "json").stdout)["workers"]
        return listed if len(listed) == 3 and all(worker["state"] == "idle" for worker in listed) else None

    workers = until(known, "three workers")
    assert ado("down").returncode == 0
    pids = [process["pid"] for process in found["processes"]] + [worker["pid"] for worker in workers]
    assert not [pid for pid in pids if exists(pid)]
    again = ado("run", "--remote", "--agent", "shell", "echo again; exit 7")
    assert (again.returncode, again.stdout) == (7, b"again\n")
    assert state(ado)["url"] == found["url"], "who was connected finds it again"
    assert ado("attach", "task-1").stdout == done.stdout


def test_concurrent_commands_share_one_control_plane(ado):
    racing = [ado("run", "--remote", "--agent", "shell", "echo hello", wait=False) for _ in range(3)]
    for process in racing:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out) == (0, b"hello\n"), err
    ids = json.loads(ado("tasks", "list", "-o", "json").stdout)["items"]
    assert {task["taskId"] for task in ids} == {"task-1", "task-2", "task-3"}


def test_a_killed_control_plane_leaves_no_process_and_loses_no_task(ado, home):
    watching = ado(
        "run",
        "--remote",
        "--agent",
        "shell",
        "echo attempt $ADO_ATTEMPT; [ $ADO_ATTEMPT != 1 ] || sleep 300",
        wait=False,
    )
    try:
        assert watching.stdout.readline() == b"attempt 1\n"
        for process in state(ado)["processes"]:
            with contextlib.suppress(ProcessLookupError):  # it has ended with the control plane, which was killed first
                os.kill(process["pid"], signal.SIGKILL)
        until(lambda: set(processes_with(str(home))) <= {watching.pid}, "everything else to be gone", 60)
    finally:
        watching.kill()
        watching.communicate()
    assert ado("up", "--detach").returncode == 0
    done = ado("wait", "task-1")
    assert done.returncode == 0, done.stderr
    assert ado("logs", "task-1").stdout == b"attempt 1\nattempt 2\n"


def test_dead_children_are_restarted(ado):
    ado("up", "--detach")
    before = state(ado)
    for process in before["processes"]:
        if process["role"] in ("api", "spawner", "postgres"):
            os.kill(process["pid"], signal.SIGKILL)

    def works():
        return ado("run", "--remote", "--agent", "shell", "echo back").stdout == b"back\n"

    until(works, "the control plane to work again", 60)
    after = state(ado)
    assert after["url"] == before["url"]
    assert sorted(process["role"] for process in after["processes"]) == sorted(p["role"] for p in before["processes"])
    assert all(exists(process["pid"]) for process in after["processes"])


@pytest.mark.parametrize("role", ["api", "spawner"])
def test_a_stopped_child_ends_with_the_control_plane(ado, role):
    """A continued process waits for the lifeline again, which other processes share and have changed."""
    assert ado("up", "--detach").returncode == 0
    pids = {process["role"]: process["pid"] for process in state(ado)["processes"]}
    os.kill(pids[role], signal.SIGSTOP)
    os.kill(pids[role], signal.SIGCONT)
    os.kill(pids["control-plane"], signal.SIGKILL)
    until(lambda: not exists(pids["api"]) and not exists(pids["spawner"]), "the children to be gone", 60)


def test_workers_that_fail_at_start_are_restarted_with_growing_pauses(ado, home):
    unreadable = {"ADO_SECRETS_DIR": "/no/such/directory", "ADO_WORKER_CAPABILITIES": "shell"}  # read by workers alone
    assert ado("up", "--detach", **unreadable).returncode == 0
    assert ado("run", "--remote", "--detach", "--agent", "shell", "true").returncode == 0

    def pauses():
        lines = [json.loads(line) for line in (home / "plane.log").read_text().splitlines() if line.startswith("{")]
        return [line["next_in_seconds"] for line in lines if "next_in_seconds" in line]

    assert until(lambda: len(pauses()) >= 3 and pauses(), "three failures", 60)[:3] == [1, 2, 4]
    assert "/no/such/directory" in (home / "plane.log").read_text()


def test_the_control_plane_survives_a_database_that_fails_to_start(ado, home):
    ado("up", "--detach")
    found = state(ado)
    pids = {process["role"]: process["pid"] for process in found["processes"]}
    (files,) = home.glob("postgres-*/global")
    files.rename(files.with_name("global.away"))
    os.kill(pids["postgres"], signal.SIGKILL)
    log = home / "plane.log"
    until(lambda: "database cannot be started" in log.read_text(), "a start that fails")
    assert exists(pids["control-plane"])
    files.with_name("global.away").rename(files)
    done = ado("run", "--remote", "--agent", "shell", "echo back", timeout=60)
    assert (done.returncode, done.stdout) == (0, b"back\n"), done.stderr


@contextlib.contextmanager
def locked(found):
    with psycopg.connect(found["dsn"], application_name="a person's psql") as connection:
        connection.execute("lock table ado.jobs in access exclusive mode")
        yield "locks", "a person's psql"


@contextlib.contextmanager
def read_only(found):
    name = conninfo.conninfo_to_dict(found["dsn"])["dbname"]
    cut = "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()"
    with psycopg.connect(found["dsn"], autocommit=True) as connection:
        connection.execute("set default_transaction_read_only = off")
        connection.execute(f"alter database {name} set default_transaction_read_only = on")
        connection.execute(cut, [name])
        yield "database", "refuses writes: it is read-only"
        connection.execute(f"alter database {name} reset default_transaction_read_only")


@contextlib.contextmanager
def stopped(found):
    (pid,) = [process["pid"] for process in found["processes"] if process["role"] == "spawner"]
    os.kill(pid, signal.SIGSTOP)
    try:
        with psycopg.connect(found["dsn"], autocommit=True) as connection:
            connection.execute("update ado.spawners set last_heartbeat_at = now() - interval '1 h'")
        yield "spawner", "stopped sending heartbeats"
    finally:
        os.kill(pid, signal.SIGCONT)


def reported(ado, message):
    """The problems of the control plane, and whether each one's text has the message.

    A problem is accompanied by others for a moment: a listener whose connection was ended is one until it reconnects.
    """
    return [(one["name"], message in one["message"]) for one in state(ado)["troubles"]]


@pytest.mark.timeout(300)
def test_status_and_doctor_report_a_problem_until_it_is_over(ado):
    assert ado("up", "--detach").returncode == 0
    found = state(ado)
    assert found["troubles"] == []
    for trouble in (locked, read_only, stopped):
        with trouble(found) as (name, message):
            until(lambda: reported(ado, message) == [(name, True)], name, 60)
            assert f"{name:10} " in ado("status").stdout.decode()
            doctor = ado("doctor", "-o", "json")
            fixes = {item["name"]: item["fix"] for item in json.loads(doctor.stdout)["items"] if not item["ok"]}
            assert (doctor.returncode, bool(fixes[name])) == (1, True)
        until(lambda: state(ado)["troubles"] == [], f"the end of {name}", 60)


def test_status_without_a_control_plane_names_the_command_for_a_server(ado):
    assert b"up --detach" in ado("status").stderr
    done = ado("status", ADO_URL="https://ado.example")
    assert done.returncode == 1
    assert b"doctor checks the server at https://ado.example" in done.stderr
