"""What a worker offers: what is there and can start, and nothing else."""

import os
import subprocess
import sys

import pytest
from support.program import until, write_token

from worker import preflight
from worker.agents import AGENTS
from worker.capabilities import CannotStart, detect, worker_capabilities
from worker.preflight import check_agents
from worker.secret_store import SecretStore, read
from worker.settings import WorkerSettings


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with a program ``claude`` and nothing else: no other agents, no credentials."""
    programs, home = tmp_path / "bin", tmp_path / "home"
    for directory in (programs, home):
        directory.mkdir()
    program = programs / "claude"
    program.write_text("#!/bin/sh\nenv > ${0%/bin/claude}/environment; echo '9.8.7 (Claude Code)'\n")
    program.chmod(0o755)
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_TOKEN")) or name.startswith("CLAUDE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")
    monkeypatch.setenv("HOME", str(home))
    return tmp_path


def test_an_agent_needs_credentials_from_a_variable_or_a_file(machine, monkeypatch):
    (finding,) = check_agents(AGENTS, ["claude-code"])
    assert (finding.version, finding.problem) == ("9.8.7", "it has no credentials")
    assert "ANTHROPIC_API_KEY" in finding.fix
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    assert not check_agents(AGENTS, ["claude-code"])[0].problem
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    (machine / "home/.claude").mkdir()
    (machine / "home/.claude/.credentials.json").write_text("{}")
    assert not check_agents(AGENTS, ["claude-code"])[0].problem


def test_a_version_is_asked_for_without_the_machines_environment(machine, monkeypatch):
    monkeypatch.setenv("SOME_SECRET", "x")
    check_agents(AGENTS, ["claude-code"])
    asked = (machine / "environment").read_text()
    assert "SOME_SECRET" not in asked
    assert f"HOME={machine}" not in asked


def test_missing_and_silent_programs_are_reported_with_the_next_step(machine):
    (finding,) = check_agents(AGENTS, ["codex"])
    assert (finding.problem, finding.fix) == ("codex is not on PATH", "npm install -g @openai/codex")
    (machine / "bin/claude").write_text("#!/bin/sh\necho broken >&2; exit 3\n")
    assert "ended with 3: broken" in check_agents(AGENTS, ["claude-code"])[0].problem


def test_a_worker_stopped_during_its_checks_leaves_no_process(machine):
    (machine / "bin/claude").write_text(
        f"#!/bin/sh\ntouch {machine}/asked; until [ -e {machine}/go ]; do sleep 0.01; done"
    )
    scratch, token = machine / "scratch", machine / "token"
    scratch.mkdir()
    write_token(token, "x")
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "cli", "worker", "--url", "http://127.0.0.1:9", "--token-file", str(token)],
        env={**os.environ, "TMPDIR": str(scratch)},
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    try:
        until((machine / "asked").exists, "the worker to look")
        assert list(scratch.iterdir())
        worker.terminate()
        (machine / "go").touch()
        assert worker.wait(60) == 0
    finally:
        worker.kill()
        worker.wait()
    assert list(scratch.iterdir()) == []


def test_by_default_everything_that_can_start_is_offered_with_its_version(machine, monkeypatch):
    assert set(detect(SecretStore({})).capabilities) == {"shell", "scripted"}
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    offered = worker_capabilities(WorkerSettings(labels=("zone=a",)), SecretStore({"DEPLOY_KEY": "x"}))
    assert set(offered.capabilities) == {"shell", "scripted", "claude-code", "secret:DEPLOY_KEY"}
    assert offered.labels == {"agent/claude-code": "9.8.7", "zone": "a"}


def test_an_agent_that_is_slow_once_is_offered(machine, monkeypatch):
    """The first start of an agent reads its files from the disk, which may be busy or far away."""
    monkeypatch.setattr(preflight, "_VERSION_SECONDS", 3.0)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    seen = machine / "seen"
    slow_once = f"#!/bin/sh\nif [ ! -e {seen} ]; then touch {seen}; exec sleep 600; fi\necho 1.2.3\n"
    (machine / "bin/claude").write_text(slow_once)
    assert detect(SecretStore({})).labels == {"agent/claude-code": "1.2.3"}


def test_an_agent_that_never_answers_is_not_offered(machine, monkeypatch):
    monkeypatch.setattr(preflight, "_VERSION_SECONDS", 0.2)
    (machine / "bin/claude").write_text("#!/bin/sh\nexec sleep 600\n")
    with pytest.raises(CannotStart, match=r"claude-code cannot start here: .* --version did not answer"):
        worker_capabilities(WorkerSettings(capabilities=("claude-code",)), SecretStore({}))


def test_a_named_capability_that_cannot_start_is_an_error(machine):
    assert worker_capabilities(WorkerSettings(capabilities=("shell", "gpu-box")), SecretStore({})).capabilities == (
        "shell",
        "gpu-box",
    )
    with pytest.raises(CannotStart, match="codex cannot start here: codex is not on PATH") as caught:
        worker_capabilities(WorkerSettings(capabilities=("shell", "codex")), SecretStore({}))
    assert caught.value.next_step == "npm install -g @openai/codex"
    with pytest.raises(CannotStart, match="secret:KEY is not held here"):
        worker_capabilities(WorkerSettings(capabilities=("secret:KEY",)), SecretStore({}))


def test_a_label_vouches_for_an_agent(machine):
    settings = WorkerSettings(capabilities=("codex",), labels=("agent/codex=1.2.3",))
    assert worker_capabilities(settings, SecretStore({})).labels == {"agent/codex": "1.2.3"}


def test_secrets_are_files_and_named_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("DEPLOY_KEY", "one")
    monkeypatch.setenv("OTHER", "not named")
    (tmp_path / "MOUNTED").write_text("two\n")
    (tmp_path / "no-name").write_text("x")
    (tmp_path / "ADO_TOKEN").write_text("x")
    secret_store = read(WorkerSettings(secrets=("DEPLOY_KEY", "ABSENT"), secrets_dir=str(tmp_path)), "a-token")
    assert secret_store.capabilities == ["secret:DEPLOY_KEY", "secret:MOUNTED"]
    assert secret_store.variables_for(["gpu", "secret:MOUNTED"]) == {"MOUNTED": "two"}
    assert set(secret_store.values) == {"one", "two", "a-token"}


def test_an_optional_capability_that_cannot_start_is_dropped_logged_and_shown(machine, caplog):
    wanted = ("shell", "claude-code", "secret:key")
    settings = WorkerSettings(capabilities=wanted, optional_capabilities=("claude-code", "secret:key"))
    offered = worker_capabilities(settings, SecretStore({}))
    assert offered.capabilities == ("shell",)
    assert offered.labels["dropped/claude-code"].startswith("claude-code cannot start here: it has no credentials (")
    assert "secret:key is not held here" in offered.labels["dropped/secret:key"]
    assert [record.message for record in caplog.records] == ["capability dropped"] * 2


def test_an_optional_capability_that_can_start_is_offered(machine, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    settings = WorkerSettings(capabilities=("claude-code",), optional_capabilities=("claude-code",))
    assert worker_capabilities(settings, SecretStore({})).capabilities == ("claude-code",)


def test_a_secret_that_no_variable_can_hold_is_dropped_with_a_warning(tmp_path):
    (tmp_path / "KEYSTORE").write_bytes(b"PK\0\0binary-secret")
    (tmp_path / "LARGE").write_text("x" * 131_072)
    (tmp_path / "PIN").write_text("abc12\n")
    (tmp_path / "FINE").write_text("long-enough")
    held = read(WorkerSettings(secrets_dir=str(tmp_path)))
    assert held.capabilities == ["secret:FINE", "secret:PIN"]
    told = " ".join(held.warnings())
    assert "the secret KEYSTORE is not offered: it has a NUL byte" in told
    assert "the secret LARGE is not offered: its 131078 bytes" in told
    assert "the secret PIN is shorter than 6 bytes and is not masked" in told
    assert "FINE" not in told
    assert "PK\0\0binary-secret" in held.values
    with pytest.raises(CannotStart, match="secret:KEYSTORE cannot be offered: it has a NUL byte"):
        worker_capabilities(WorkerSettings(capabilities=("shell", "secret:KEYSTORE")), held)


def test_secrets_outside_of_the_listed_capabilities_are_logged():
    held = SecretStore({"A": "value-of-a", "B": "value-of-b"})
    offered = worker_capabilities(WorkerSettings(capabilities=("shell", "secret:A")), held)
    assert offered.capabilities == ("shell", "secret:A")
    assert offered.labels["not-offered"] == "secret:B"
    assert "not-offered" not in worker_capabilities(WorkerSettings(capabilities=("secret:A", "secret:B")), held).labels
