"""Which sandbox a worker gets: what works is tried, what is named is never replaced by something weaker."""

import os

import pytest
from support.reachable import open_to_others
from support.sandboxes import works

from worker.sandbox.base import SandboxUnavailable, labels_of
from worker.sandbox.choice import choose
from worker.sandbox.uid import parse_range
from worker.settings import WorkerSettings


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A machine on which bwrap is installed and not allowed to do its work."""
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_auto_chooses_bubblewrap_or_reports_why_it_does_not_work():
    sandbox = choose(WorkerSettings(sandbox="auto"))
    assert sandbox.name == ("bubblewrap" if works() else "none")
    assert bool(sandbox.why) == (not works())


def test_auto_falls_back_and_reports_the_failure_with_its_next_step(broken):
    sandbox = choose(WorkerSettings(sandbox="auto"))
    labels = labels_of(sandbox)
    assert labels["sandbox"] == "none"
    assert "Permission denied" in labels["sandbox-why"]
    assert "user namespaces" in labels["sandbox-why"]
    assert sandbox.capabilities == ()


def test_a_named_sandbox_is_not_replaced(broken, monkeypatch):
    with pytest.raises(SandboxUnavailable, match="Permission denied") as raised:
        choose(WorkerSettings(sandbox="bubblewrap"))
    assert "ADO_SANDBOX=none" in raised.value.next_step
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SandboxUnavailable, match="not on PATH") as raised:
        choose(WorkerSettings(sandbox="bubblewrap"))
    assert "install" in raised.value.next_step


def test_none_runs_no_probe(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert labels_of(choose(WorkerSettings(sandbox="none"))) == {"sandbox": "none"}


def test_a_container_counts_as_the_sandbox(broken):
    assert labels_of(choose(WorkerSettings(sandbox="auto", isolated=True))) == {"sandbox": "container"}


def test_uid_needs_root_and_auto_uses_it_only_with_job_uids(broken, tmp_path):
    work = tmp_path / "work"
    found = choose(WorkerSettings(sandbox="auto", work_dir=str(work)))
    assert found.name == "none"
    settings = WorkerSettings(sandbox="auto", job_uids="60600-60601", work_dir=str(work))
    if os.geteuid() != 0:
        assert choose(settings).name == "none"
        with pytest.raises(SandboxUnavailable, match="only a worker that is root"):
            choose(WorkerSettings(sandbox="uid", work_dir=str(work)))
        return
    open_to_others(tmp_path)
    assert choose(settings).name == "uid"
    assert choose(WorkerSettings(sandbox="uid", work_dir=str(work))).name == "uid"
    tmp_path.chmod(0o700)
    with pytest.raises(SandboxUnavailable) as raised:
        choose(WorkerSettings(sandbox="uid", work_dir=str(work)))
    assert "ADO_WORK_DIR" in raised.value.next_step


@pytest.mark.parametrize("text", ["5", "0-5", "7-3", "a-b", "1-", "1-99999999999", "-5-7"])
def test_an_invalid_range_of_users_is_refused(text):
    with pytest.raises(SandboxUnavailable, match="no range"):
        parse_range(text)


def test_an_unknown_sandbox_is_refused():
    with pytest.raises(SandboxUnavailable, match="no kind of sandbox") as raised:
        choose(WorkerSettings(sandbox="docker"))
    assert "bubblewrap" in raised.value.next_step
