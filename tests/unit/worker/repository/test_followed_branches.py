"""A job that starts from the newest commit of a remote's branch, over git's ssh protocol with a stand-in for ssh."""

import pytest
from support.repositories import Tree
from support.workspaces import LocalFiles

from worker.processes.directories import AttemptDirectory
from worker.repository.git import GitError
from worker.repository.workspace import Base, JobWorkspace

FAKE_SSH = '#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift 2; done\nshift\nexec sh -c "$*"\n'


@pytest.fixture
def source(tmp_path, monkeypatch):
    """The repository that workers fetch from, with one commit on its branch main."""
    ssh = tmp_path / "ssh"
    ssh.write_text(FAKE_SSH)
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(ssh))
    made = Tree(tmp_path / "source")
    made.commit({"a": "1\n", "b": "1\n"})
    return made


def workspace(tmp_path, source, name, hosts=("git.example",), ref="refs/heads/main"):
    """Return the workspace of an attempt with directories of its own."""
    base = tmp_path / name
    for part in ("job", "home", "tmp"):
        (base / part).mkdir(parents=True)
    remote = {"url": f"ssh://git@git.example{source.path}", "ref": ref}
    made = Base.of({"remote": remote, "branch": "main"})
    return JobWorkspace(AttemptDirectory(base, 0, True), made, LocalFiles(None), "task-1", frozenset(hosts)), base


async def snapshot(made, bundle):
    return await made.snapshot(bundle, "refs/heads/x", "work\n", "agent")


async def test_a_job_starts_from_the_newest_commit_and_its_result_is_a_change_of_it(tmp_path, source):
    newest = source.commit({"a": "2\n"})
    made, base = workspace(tmp_path, source, "first")
    await made.fill()
    await made.check_out()
    assert (base / "job" / "a").read_text() == "2\n"
    (base / "job" / "b").write_text("mine\n")
    taken = await snapshot(made, base / "bundle")
    assert (taken.base, taken.files) == (newest, 1)
    source.git("bundle", "verify", str(base / "bundle"))  # it needs the newest commit, which the user has


async def test_an_attempt_keeps_its_commit_when_the_branch_moves(tmp_path, source):
    first = source.git("rev-parse", "HEAD").strip()
    made, base = workspace(tmp_path, source, "first")
    await made.fill()
    await made.check_out()
    source.commit({"a": "2\n"})
    (base / "job" / "b").write_text("mine\n")
    made._store = base / "another"  # as after the agent has damaged the first one
    await made._fill(made._store)
    taken = await snapshot(made, base / "bundle")
    assert (taken.base, taken.files) == (first, 1)


async def test_the_next_attempt_goes_on_from_the_commit_of_the_earlier_one(tmp_path, source):
    """Otherwise its result would take back what others have pushed meanwhile."""
    first = source.git("rev-parse", "HEAD").strip()
    made, base = workspace(tmp_path, source, "first")
    await made.fill()
    await made.check_out()
    (base / "job" / "b").write_text("mine\n")
    await snapshot(made, base / "bundle")
    source.commit({"a": "2\n"})
    again, later = workspace(tmp_path, source, "second")
    await again.fill()
    await again.check_out(base / "bundle")
    assert [(later / "job" / name).read_text() for name in "ab"] == ["1\n", "mine\n"]
    taken = await snapshot(again, later / "bundle")
    assert (taken.base, taken.files) == (first, 1)


async def test_a_branch_that_is_gone_and_a_host_that_is_not_allowed_are_named(tmp_path, source):
    made, _ = workspace(tmp_path, source, "gone", ref="refs/heads/gone")
    with pytest.raises(GitError, match="refs/heads/gone"):
        await made.fill()
    made, _ = workspace(tmp_path, source, "forbidden", hosts=())
    with pytest.raises(GitError, match="ADO_GIT_HOSTS"):
        await made.fill()
