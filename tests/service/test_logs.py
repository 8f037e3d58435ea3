"""What attach and logs show of a log, option by option, and the exit code of every way a task can end."""

import json
import re
import subprocess
import sys

import pytest

SCRIPT = "printf 'out %s\\n' $ADO_ATTEMPT; printf 'err\\n' >&2; printf 'no end'; exit 4"


@pytest.fixture
def worker(cluster):
    cluster.add_worker("w1", url=cluster.urls[1])
    return cluster


def test_logs_shows_the_selected_output(worker):
    worker.ado("run", "--remote", "--retries", "1", "--agent", "shell", SCRIPT, check=4)
    worker.ado("run", "--remote", "--workers", "2", "--agent", "shell", "printf $ADO_JOB_INDEX", check=0)

    def logs(*options, task="task-1", check=0):
        done = worker.ado("logs", task, *options, check=check)
        return done.stdout, done.stderr

    both = b"out 1\nno endout 2\nno end"
    assert logs() == (both, b"err\nerr\n")
    assert logs("--follow")[0] == both
    assert logs("--stderr") == (b"", b"err\nerr\n")
    assert logs("--attempt", "1") == (b"out 1\nno end", b"err\n")
    for number in (b"2", b"1"):  # two pipes: which comes first is not said
        exact = logs("--raw", "--attempt", number.decode())[0]
        assert exact.replace(b"err\n", b"") == b"out " + number + b"\nno end"
    assert logs("--raw", "--attempt", "2") == logs("--raw")
    assert logs("--raw", "--stderr") == (b"err\n", b"")
    assert logs("--since", "10m")[0] == both
    assert logs("--since", "0s") == (b"", b"")
    assert logs("--tail", "0") == (b"", b"")
    assert b"".join(logs("--tail", "1")) in (b"no end", b"err\n")
    stamped = logs("--timestamps")[0].splitlines()
    assert [line.rpartition(b"+00:00 ")[2] for line in stamped] == [b"out 1", b"no end", b"out 2", b"no end"]
    assert re.match(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", stamped[0])
    assert sorted(logs(task="task-2")[0].splitlines()) == [b"[0] 0", b"[1] 1"]
    assert logs("--job", "1", task="task-2")[0] == b"1"
    assert logs("--raw", "--job", "1", task="task-2") == (b"1", b"")
    events = [json.loads(line) for line in logs("-o", "jsonl")[0].splitlines()]
    assert {event["type"] for event in events} == {"output"}
    for nonsense in (["--job", "1"], ["--attempt", "3"], ["--attempt", "0"], ["--since", "soon"], ["--tail", "-1"]):
        out, err = logs(*nonsense, check=2)
        assert (out, len(err.splitlines())) == (b"", 2), nonsense
    assert b"add --job" in logs("--raw", task="task-2", check=2)[1]


def test_what_is_stored_is_read_without_asyncio_and_a_websocket(worker):
    """They take half of the time that such a command needs. A task that runs is watched with them."""
    name = worker.ado("run", "--remote", "--agent", "shell", "echo line", "-o", "name", check=0).stdout.decode().strip()
    running = worker.ado("run", "--remote", "--detach", "--agent", "shell", "cat", check=0).stdout.decode().strip()
    commands = [["logs", name], ["logs", name, "-f", "--tail", "1"], ["attach", name], ["attach", name, "-o", "json"],
                ["logs", running]]  # fmt: skip
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-P", "-X", "importtime", "-m", "cli", *command],
            env=worker.client_env(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        imported = set(re.findall(r"\| +(\S+)$", done.stderr, re.MULTILINE))
        assert imported & {"asyncio", "websockets", "subprocess", "app.rpc.client.event_stream"} == {
            "app.rpc.client.event_stream"
        }, command
        assert ("line" in done.stdout) == (command[1] == name)
    worker.ado("cancel", running, check=0)


def test_a_short_task_is_run_without_asyncio_a_websocket_and_git(worker):
    code = (
        "import sys, cli.remote.follow\n"
        "from cli.__main__ import main\n"
        "cli.remote.follow._BEGIN_SECONDS = 60\n"  # a busy machine must not need more
        "sys.argv[1:] = ['run', '--remote', '--agent', 'shell', 'echo line']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-X", "importtime", "-c", code],
        env=worker.client_env(), capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip
    assert done.stdout == "line\n"
    imported = set(re.findall(r"\| +(\S+)$", done.stderr, re.MULTILINE))
    assert imported & {"asyncio", "websockets", "subprocess", "hashlib", "encodings.idna", "cli.repository"} == set()


def test_what_a_new_task_has_shown_is_not_shown_again_by_the_websocket(worker, tmp_path):
    """Halves of lines are joined across the change at a question, and no event comes twice at the one by the time."""
    changed = tmp_path / "changed"
    code = (
        "import sys, pathlib, cli.remote.follow\n"
        "from cli.remote.live_follow import LiveFollower\n"
        "from cli.__main__ import main\n"
        "seconds, *sys.argv[1:] = sys.argv[1:]\n"
        "cli.remote.follow._BEGIN_SECONDS = float(seconds)\n"
        "run = LiveFollower.run\n"
        "def noted(self):\n"
        f"    pathlib.Path({str(changed)!r}).touch()\n"
        "    return run(self)\n"
        "LiveFollower.run = noted\n"
        "main()\n"
    )
    wait = f"while [ ! -e {changed} ]; do sleep 0.05; done; echo end"
    ask = "[ $ADO_JOB_INDEX = 1 ] || { sleep 0.3; ado ask Which? --option a & }"

    def run(seconds, script, *form):
        words = ["run", "--remote", "--workers", "2", "--agent", "shell", script, *form]
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, seconds, *words],
            env=worker.client_env(), capture_output=True, text=True, timeout=90, check=True,
        )  # fmt: skip
        changed.unlink()
        assert "connection lost" not in done.stderr
        return done.stdout.splitlines()

    shown = run("60", f"printf begin-; {ask}; {wait}")
    assert sorted(line for line in shown if "question" not in line) == ["[0] begin-end", "[1] begin-end"]
    numbers = [json.loads(line)["seq"] for line in run("2", f"echo begin; {wait}", "-o", "jsonl")]
    assert numbers == list(range(1, len(numbers) + 1))


def test_tail_counts_lines_for_any_division_of_writes(worker):
    """Nine lines in one event, then one in more events than are asked for at first, the other stream's amid them."""
    script = "seq 1 9; for i in $(seq 1 60); do printf .; echo >&2; sleep 0.06; done; printf '\\nend'"
    worker.ado("run", "--remote", "--agent", "shell", script, check=0)

    def tail(count, *options):
        return worker.ado("logs", "task-1", "--tail", str(count), *options, check=0)

    assert tail(1).stdout == b"end"
    assert tail(2, "--job", "0").stdout == b"." * 60 + b"\nend"
    assert tail(3, "--stderr").stderr == b"\n" * 3
    stamped = tail(2, "--timestamps").stdout.splitlines()
    assert [line.rpartition(b" ")[2] for line in stamped] == [b"." * 60, b"end"]
    assert tail(4, "--follow").stdout.endswith(b"end")
    assert tail(1000).stdout == b"".join(b"%d\n" % line for line in range(1, 10)) + b"." * 60 + b"\nend"


def test_attach_replays_from_the_given_event(worker):
    worker.ado("run", "--remote", "--agent", "shell", "echo one; exit 5", check=5)
    last = worker.task("task-1")["lastSeq"]

    def seqs(*options):
        done = worker.ado("attach", "task-1", "-o", "jsonl", *options, check=5)
        return [json.loads(line)["seq"] for line in done.stdout.splitlines()]

    assert seqs() == seqs("--from", "start") == list(range(1, last + 1))
    assert seqs("--from", "2") == list(range(3, last + 1))
    assert seqs("--from", str(last)) == []
    assert seqs("--tail", "2") == [last - 1, last]
    assert worker.ado("attach", "task-1", check=5).stdout == b"one\n"
    assert worker.ado("attach", "task-1", "--tail", "1", check=5).stdout == b"one\n"
    assert len(worker.ado("attach", "task-1", "--from", "middle", check=2).stderr.splitlines()) == 2
    assert worker.task("task-1")["lastSeq"] == last


def test_every_outcome_has_its_exit_code(worker):
    """130 is in test_terminal, 125 for a lost job in the unit tests of exits: it takes three workers."""

    def run(prompt, *options, code):
        worker.ado("run", "--remote", "--agent", "shell", *options, prompt, check=code)

    run("true", code=0)
    run("exit 1", code=1)
    run("exit 123", code=123)
    run("exit 124", code=124)
    run("kill -9 $$", code=137)
    run("sleep 60", "--timeout", "0.5s", code=124)
    run("x", "--workers", "0", code=2)
    run("exit $((3 + ADO_JOB_INDEX))", "--workers", "2", "--fail-fast", code=3)
    worker.ado("run", "--remote", "--detach", "x", check=127)  # no AI agent is offered
    worker.ado("tasks", "show", "task-99", check=127)
    worker.ado("tasks", "list", url="http://127.0.0.1:9", check=125)
    made = worker.ado("run", "--remote", "--detach", "--wait-for-agent", "--agent", "no-such", "x", check=0)
    assert b"no live worker offers no-such" in made.stderr
    worker.ado("cancel", made.stdout.strip(), check=0)
    worker.ado("wait", made.stdout.strip(), check=1)
    task = worker.task("task-4")
    assert (task["jobs"][0]["exitCode"], task["jobs"][0]["reason"]) == (124, "exit_nonzero")
    worker.token = worker.make_token("viewer")
    worker.ado("cancel", "task-1", check=126)
    worker.token = "nonsense"
    worker.ado("tasks", "list", check=126)
