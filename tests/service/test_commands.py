"""Every command's forms, errors as JSON, doctor and explain."""

import json
import shlex
import subprocess

import pytest

TASK = "the name of the test's own task"


@pytest.fixture(scope="module")
def worker(shared_cluster):
    """The module's cluster, with a worker that runs whatever a test starts."""
    shared_cluster.add_worker("w1")
    return shared_cluster


@pytest.fixture
def failed(worker):
    """A task that has failed."""
    worker.ado("run", "--remote", "--agent", "shell", "exit 3", check=3)
    return worker.last_task()


def has_every_form(cluster, command, name):
    for form in ("json", "jsonl", "name", "text"):
        done = cluster.ado(*command, "-o", form)
        assert done.returncode in (0, 3), done.stderr
        text = done.stdout.decode()
        if form == "json":
            json.loads(text)
        elif form == "jsonl":
            assert [json.loads(line) for line in text.splitlines()]
        elif form == "name" and command[0] != "run":
            assert text.splitlines()[0] == name
        assert "\x1b" not in text


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["tasks", "list"], TASK),
        (["tasks", "show", TASK], TASK),
        (["explain", TASK], TASK),
        (["cancel", TASK], TASK),
        (["wait", TASK], TASK),
        (["attach", TASK], TASK),
        (["workers", "list"], "w1"),
        (["workers", "status"], "w1"),
        (["workers", "scale", "0"], "0"),
        (["run", "--remote", "--detach", "--agent", "shell", "x"], None),
        (["doctor"], "api"),
    ],
)
def test_commands_have_every_output_form(worker, failed, command, name):
    has_every_form(worker, [failed if word is TASK else word for word in command], failed if name is TASK else name)


def test_drain_has_every_output_form(cluster):
    cluster.add_worker("w1")
    cluster.ado("run", "--remote", "--agent", "shell", "true", check=0)
    has_every_form(cluster, ["workers", "drain", "w1"], "w1")


def test_retry_and_token_have_every_output_form(worker, failed):
    assert worker.ado("retry", failed, "-o", "name", check=0).stdout.decode() == f"{failed}\n"
    made = json.loads(worker.ado("token", "create", "--role", "viewer", "-o", "json", check=0).stdout)
    assert set(made) == {"tokenId", "token", "role", "expiresAt"}
    assert made["tokenId"].encode() in worker.ado("token", "list", "-o", "name", check=0).stdout
    assert json.loads(worker.ado("token", "revoke", made["tokenId"], "-o", "json", check=0).stdout)["revokedAt"]


@pytest.mark.parametrize(
    ("command", "env", "code", "reason"),
    [
        (["tasks", "show", "task-9999"], {}, 127, "no_such_task"),
        (["tasks", "list", "--status", "nonsense"], {}, 2, "usage"),
        (["run", "--remote", "--agent", "shell", "--workers", "0", "x"], {}, 2, "invalid_input"),
        (["tasks", "list"], {"ADO_TOKEN": "nonsense"}, 126, "token_invalid"),
        (["tasks", "list"], {"ADO_URL": "http://127.0.0.1:9"}, 125, "unreachable"),
        (["retry", TASK], {}, 1, "nothing_to_retry"),
        (["tasks", "list", "--no-such-option"], {}, 2, "usage"),
    ],
)
def test_an_error_is_text_of_two_lines_or_json(worker, monkeypatch, command, env, code, reason):
    worker.ado("run", "--remote", "--agent", "shell", "true", check=0)
    succeeded = worker.last_task()
    command = [succeeded if word is TASK else word for word in command]
    original = worker.client_env
    monkeypatch.setattr(worker, "client_env", lambda *given, **named: {**original(*given, **named), **env})
    done = worker.ado(*command)
    assert (done.returncode, done.stdout) == (code, b"")
    assert len(done.stderr.splitlines()) == 2, done.stderr
    assert all(line.startswith(b"ado: ") for line in done.stderr.splitlines())
    done = worker.ado(*command, "-o", "json")
    error = json.loads(done.stderr)["error"]
    assert (error["reason"], error["exitCode"], done.returncode) == (reason, code, code)
    assert error["hint"]


def checks(cluster, code=0, url=None):
    found = json.loads(cluster.ado("doctor", "-o", "json", url=url, check=code).stdout)
    assert found["ok"] == (code == 0)
    assert all(item["fix"] for item in found["items"] if not item["ok"])
    return {item["name"]: item["ok"] for item in found["items"]}


def test_doctor_reports_no_problem_on_a_healthy_system(worker):
    found = checks(worker)
    parts = {"api", "clock", "database", "schema", "listener", "database clock", "notifications"}
    assert set(found) == parts | {"token", "workers", "agents", "sandbox"}


def test_doctor_names_each_problem_with_its_next_step(cluster, home):
    assert checks(cluster, 1, url=f"{cluster.urls[0]},http://127.0.0.1:9")["api"] is False
    cluster.ado("run", "--remote", "--detach", "--agent", "shell", "x", check=0)
    assert checks(cluster, 1)["workers"] is False
    cluster.token = "nonsense"
    assert checks(cluster, 1)["token"] is False


def test_doctor_reports_a_replica_without_notifications(cluster, empty_dsn):
    """Its LISTEN connection stands, as it does behind a pooler, and no notification comes."""
    cluster.env["ADO_LISTEN_DSN"] = empty_dsn
    cluster.add_replicas(1)
    found = checks(cluster, 1, url=cluster.urls[-1])
    assert (found["listener"], found["notifications"]) == (True, False)
    done = cluster.ado("doctor", url=cluster.urls[-1]).stdout.decode()
    assert "ADO_LISTEN_DSN" in done


def test_a_closed_pipe_is_not_an_error(worker):
    for _ in range(5):
        worker.ado("run", "--remote", "--detach", "--agent", "shell", "x" * 5000, check=0)
    process = worker.open("tasks", "list", "-o", "json")
    process.stdout.close()
    assert process.wait(60) in (0, 141)
    assert process.stderr.read() == b""


def test_a_worker_token_is_printed_with_the_command_to_start_a_worker(cluster, tmp_path):
    wish = ["token", "create", "--role", "worker", "--worker", "w1"]
    made = cluster.ado(*wish, "--to", str(tmp_path / "w1.token"), url=cluster.urls[0], check=0)
    *_, said, command = made.stderr.decode().splitlines()
    assert said.endswith("to the worker's machine, and start it there:")
    assert command == f"ado worker --url {cluster.urls[0]} --id w1 --token-file w1.token"
    cluster.start(*shlex.split(command)[1:-1], str(tmp_path / "w1.token"), "--capability", "shell")
    assert cluster.ado("run", "--remote", "--agent", "shell", "echo here", check=0).stdout == b"here\n"
    direct = cluster.ado(*wish, "--dsn", cluster.dsn, check=0)
    assert b"--url URL --id w1 --token-file w1.token" in direct.stderr
    assert direct.stdout.strip() not in direct.stderr
    assert b"start it there" not in cluster.ado("token", "create", "--role", "viewer", check=0).stderr


def test_a_token_that_is_redirected_to_a_file_is_private(worker, tmp_path):
    """Else no program would take the file."""
    path = tmp_path / "token"
    path.touch(0o644)
    with path.open("wb") as file:
        wish = ["token", "create", "--role", "worker", "--worker", "w"]
        subprocess.run([*worker.program, *wish], env=worker.client_env(), stdout=file, check=True, cwd="/")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().strip()


def test_a_waiting_task_is_shown_with_its_labels_and_has_not_failed(worker):
    options = ["--label", "team=web ui", "--priority", "3", "--require", "gpu"]
    worker.ado("run", "--remote", "--detach", *options, "--agent", "shell", "true", check=0)
    waiting = worker.last_task()
    shown = worker.ado("tasks", "show", waiting, check=0).stdout.decode()
    worker.ado("cancel", waiting, check=0)  # doctor is not to find it
    assert "labels: team=web ui" in shown
    assert "priority 3" in shown
    assert "failed" not in shown


def test_an_ended_task_is_explained_by_its_outcome(worker, failed):
    said = worker.ado("explain", failed, check=0).stdout.decode()
    assert said == f"it does not wait: {failed} failed: exit code 3\n"


def test_an_empty_list_prints_no_line(worker, tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert worker.ado("refs", "list", cwd=tmp_path, check=0).stdout == b""
