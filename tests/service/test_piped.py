"""Input that is piped into ``ado run`` reaches the job over any fault, and delays no other job."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading

import pytest
from support.postgres import fast_directory, remove
from support.program import Cluster, until
from support.proxy import Proxy

RUN = (sys.executable, "-P", "-m", "cli", "run")
REMOTE = ("--remote", "--agent", "shell")


def ado_run(cluster, *words, data=None, url=None, **options):
    """Run with something piped in (None: /dev/null)."""
    given = {"input": data} if data is not None else {} if "stdin" in options else {"stdin": subprocess.DEVNULL}
    return subprocess.run(
        [*RUN, *words], env=cluster.client_env(url), capture_output=True, cwd="/", timeout=120, check=False,
        **given, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def working(shared_dsn):
    """Two replicas and a worker for all tests that leave them as they are."""
    directory = fast_directory()
    made = Cluster(shared_dsn, directory)
    try:
        made.add_replicas(2).add_worker("w1", "--slots", "4")
        yield made
    finally:
        made.close()
        remove(directory)


@pytest.fixture
def made_tasks(working):
    """Return whether each task that this test has made has input."""
    (last,) = working.sql("select coalesce(max(task_id), 0) from ado.tasks")[0]

    def found():
        ask = "select 'input:stdin' = any(requires) from ado.tasks where task_id > %s order by task_id"
        return [row[0] for row in working.sql(ask, last)]

    return found


def test_stdin_may_be_a_pipe_a_file_or_nothing_locally_and_remotely(working, made_tasks, tmp_path):
    file = tmp_path / "lines"
    file.write_bytes(b"a\nb\n")
    empty = tmp_path / "empty"
    empty.touch()
    for place in (REMOTE, ("--agent", "shell")):
        done = ado_run(working, *place, "wc -l", data=b"a\nb\n")
        assert (done.returncode, done.stdout.strip()) == (0, b"2"), done.stderr
        with file.open("rb") as source:
            assert ado_run(working, *place, "wc -l", stdin=source).stdout.strip() == b"2"
        with file.open("rb") as source:
            assert ado_run(working, *place, "--no-stdin", "wc -l", stdin=source).stdout.strip() == b"0"
        with empty.open("rb") as source:
            assert ado_run(working, *place, "wc -l", stdin=source).stdout.strip() == b"0"
        assert ado_run(working, *place, "-i", "wc -l", data=b"").stdout.strip() == b"0"
    assert made_tasks() == [True, True, False, False, True]
    assert working.sql("select * from ado.inputs") == []


def test_devices_and_closed_pipes_send_nothing_and_an_open_pipe_blocks_no_end(working, made_tasks):
    assert ado_run(working, *REMOTE, "wc -c").stdout.strip() == b"0"
    closed = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *RUN, *REMOTE, "wc -c"], env=working.client_env(),
        capture_output=True, cwd="/", timeout=60, check=False,
    )  # fmt: skip
    assert (closed.returncode, closed.stdout.strip()) == (0, b"0"), closed.stderr
    read, write = os.pipe()
    os.close(write)
    assert ado_run(working, *REMOTE, "wc -c", stdin=read).stdout.strip() == b"0"
    os.close(read)
    assert made_tasks() == [False, False, False]
    read, write = os.pipe()
    assert ado_run(working, *REMOTE, "echo done; exit 4", stdin=read).returncode == 4
    assert ado_run(working, "--agent", "shell", "exit 5", stdin=read).returncode == 5
    os.close(read)
    os.close(write)


def test_a_command_that_stops_reading_ends_the_sending(working):
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless:
        done = ado_run(working, *REMOTE, "head -1; exit 3", stdin=endless.stdout)
        assert (done.returncode, done.stdout) == (3, b"y\n"), done.stderr
        endless.stdout.close()
        endless.kill()


def test_a_job_that_reads_nothing_blocks_neither_others_nor_its_end(working):
    read, write = os.pipe()
    idle = working.open("run", *REMOTE, f"until test -e {working.home}/go; do sleep 0.05; done; echo over", stdin=read)
    os.close(read)
    feeding = threading.Thread(target=feed, args=(write, b"x" * 8_000_000))
    feeding.start()
    full = "select 1 from ado.inputs where received - taken >= 1024 * 1024"
    until(lambda: working.sql(full), "as much to wait as may")
    assert ado_run(working, *REMOTE, "wc -c", data=b"y" * 2_000_000).stdout.strip() == b"2000000"
    (working.home / "go").touch()
    assert idle.communicate(timeout=60)[0] == b"over\n"
    assert idle.returncode == 0
    feeding.join(60)


def feed(pipe, data):
    """Write into a pipe until its reader is gone, and close it."""
    with contextlib.suppress(BrokenPipeError), os.fdopen(pipe, "wb") as target:
        target.write(data)


def test_every_byte_arrives_once_despite_kills_and_cuts(cluster):
    """A CLI and a worker behind connections that are reset again and again, and a replica that dies."""
    data = os.urandom(12_000_000)
    with Proxy(cluster.urls) as proxy:
        cluster.add_worker("w1", url=proxy.url)
        script = (
            f"head -c 2000000; touch {cluster.home}/some; until test -e {cluster.home}/go; do sleep 0.05; done; cat"
        )
        read, write = os.pipe()
        sending = cluster.open("run", *REMOTE, f"({script}) | sha256sum", url=proxy.url, stdin=read)
        os.close(read)
        feeding = threading.Thread(target=feed, args=(write, data))
        feeding.start()
        until((cluster.home / "some").exists, "some of the input", 60)
        cluster.replicas[0].kill()
        (cluster.home / "go").touch()
        seen = 0
        while sending.poll() is None and seen < len(data):
            found = cluster.sql("select received from ado.inputs where received > %s", seen + 1_500_000)
            if found:
                seen = found[0][0]
                proxy.cut()
            elif not cluster.sql("select 1 from ado.inputs where not ended"):
                break
        output, errors = sending.communicate(timeout=90)
        feeding.join(60)
    assert (sending.returncode, output.split()[0].decode()) == (0, hashlib.sha256(data).hexdigest()), errors


def test_the_attempt_after_a_killed_worker_reads_from_the_beginning(cluster):
    data = os.urandom(3_000_000)
    first = cluster.add_worker("w1")
    script = f"if [ $ADO_ATTEMPT = 1 ]; then head -c 2000000; touch {cluster.home}/some; sleep 300; fi; cat"
    read, write = os.pipe()
    sending = cluster.open("run", *REMOTE, f"({script}) | sha256sum", stdin=read)
    os.close(read)
    feeding = threading.Thread(target=feed, args=(write, data))
    feeding.start()
    until((cluster.home / "some").exists, "some of the input", 60)
    first.send_signal(signal.SIGKILL)
    cluster.add_worker("w2")
    output, _ = sending.communicate(timeout=90)
    feeding.join(60)
    assert output.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_a_job_whose_sender_was_killed_fails_and_sees_no_end_of_its_input(dsn, home):
    made = Cluster(dsn, home, env={"ADO_INPUT_SILENCE_SECONDS": "1"})
    with contextlib.closing(made):
        made.add_replicas(2).add_worker("w1")
        read, write = os.pipe()
        sending = made.open("run", *REMOTE, "cat; echo the end", stdin=read)
        os.close(read)
        os.write(write, b"the beginning\n")
        assert sending.stdout.readline() == b"the beginning\n"
        sending.kill()
        sending.communicate(timeout=60)
        os.close(write)
        until(lambda: made.task("task-1")["status"] == "failed", "the end of the job")
        assert made.task("task-1")["reason"] == "input_lost"
        assert [event["data"] for event in made.events("task-1") if event["type"] == "output"] == ["the beginning\n"]


def test_impossible_combinations_are_refused_before_a_task_is_made(working, made_tasks):
    for words, message in (
        ((*REMOTE, "--workers", "2"), b"cannot share one stdin"),
        ((*REMOTE, "--detach"), b"nobody stays to send stdin"),
        (("--remote", "--agent", "scripted"), b"reads no stdin"),
        (("--agent", "shell", "--workers", "2"), b"cannot share one stdin"),
    ):
        done = ado_run(working, *words, "-i", "cat", data=b"x")
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    done = ado_run(working, *REMOTE, "-i", "-F", "-", data=b"echo x")
    assert (done.returncode, b"both the prompt and the input" in done.stderr) == (2, True)
    assert made_tasks() == []
    assert ado_run(working, *REMOTE, "--workers", "2", "wc -c", data=b"x").stdout.split().count(b"0") == 2
    assert ado_run(working, *REMOTE, "-F", "-", data=b"wc -c").stdout == b"0\n"


def test_ctrl_c_reports_the_missing_rest_of_the_input(working):
    read, write = os.pipe()
    sending = working.open("run", *REMOTE, "echo begun; cat", stdin=read)
    os.close(read)
    assert sending.stdout.readline() == b"begun\n"
    sending.send_signal(signal.SIGINT)
    _, errors = sending.communicate(timeout=60)
    os.close(write)
    assert b"its stdin was cut off here" in errors
    (name,) = {line.split()[1] for line in errors.decode().splitlines() if line.startswith("ado: task-")}
    working.ado("cancel", name, check=0)


@pytest.mark.sandbox
@pytest.mark.parametrize("sandbox", ["bubblewrap", "uid"])
def test_a_job_in_a_sandbox_reads_the_input(cluster, sandbox):
    if sandbox == "uid" and os.geteuid() != 0:
        return  # only a root worker can change the user
    cluster.add_worker("w1", env={"ADO_SANDBOX": sandbox})
    data = os.urandom(300_000)
    done = ado_run(cluster, *REMOTE, "cat /dev/stdin | sha256sum", data=data)
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest(), done.stderr
