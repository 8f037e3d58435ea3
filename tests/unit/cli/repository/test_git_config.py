"""What a repository's own configuration names does not run through ado's git."""

import subprocess

import pytest
from support.hostile_repository import Hostile
from support.repositories import SETTINGS, Tree

from app.core.git import GitError
from cli.errors import CliError
from cli.repository.apply import apply, shown_by
from cli.repository.git import Repository
from cli.repository.git_config import environment, is_trusted, overrides, read_config
from cli.repository.outgoing import prepare
from cli.repository.results import JobResult, diff, fetch


def result_of(hostile):
    about = {"branch": "ado/task-1", "commit": hostile.commit, "base": hostile.base}
    return JobResult.of("task-1", {"job": 0, "kind": "result", "about": about})


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    made = Hostile(tmp_path)
    monkeypatch.chdir(made.tree.path)
    return made


class Delivered:
    """Stands for the transfer, whose own tests have it: the bundle is here already."""

    def __init__(self, bundle):
        self.bundle = bundle

    def fetch(self, file, path):
        path.write_bytes(self.bundle.read_bytes())


def test_plain_git_runs_the_programs_of_the_configuration(hostile):
    subprocess.run(["git", "status"], cwd=hostile.tree.path, check=False, capture_output=True)
    assert hostile.mark.exists()


def test_fetching_a_result_runs_no_program(hostile, capfd):
    here = Repository.of_working_directory()
    result = result_of(hostile)
    fetch(here, result, Delivered(hostile.bundle))
    with diff(here, result.base, result.commit, coloured=False, stat=False) as shown:
        assert b"+0\n" in shown.read()
    done = apply(here, result)
    shown_by(here, done.paths)
    assert (hostile.tree.path / "f").read_text() == "0\n1\n2\n3\n"
    assert not here.has("1" * 40)
    here.git("checkout", "--quiet", "--force", result.commit, "--")
    assert not hostile.mark.exists()
    assert "merge.x, filter.x, filter.a.b=c; if you trust it: git config" in capfd.readouterr().err.replace("\n", "")


def test_a_disabled_merge_driver_gives_a_conflict(hostile):
    config = hostile.tree.path / ".git/config"
    text = config.read_text()
    config.write_text("")
    hostile.tree.commit({"f": "1\n2\n3\nhere\n"})
    config.write_text(text)
    hostile.mark.unlink(missing_ok=True)  # the commit was made by plain git
    here, result = Repository.of_working_directory(), result_of(hostile)
    fetch(here, result, Delivered(hostile.bundle))
    with pytest.raises(CliError, match="conflicts with what was committed here: f"):
        apply(here, result)
    assert not hostile.mark.exists()


def test_sending_the_repository_runs_no_program(hostile):
    hostile.tree.write({"f": "dirty\n", "new": "1\n"})
    prepare(Repository.of_working_directory(), dirty=True, notify=lambda _: None)
    assert not hostile.mark.exists()


@pytest.mark.parametrize("where", ["/", "..", "../victim"])
def test_a_configured_working_tree_elsewhere_is_refused(hostile, tmp_path, where):
    Tree(tmp_path / "victim")
    config = hostile.tree.path / ".git/config"
    top = where if where == "/" else tmp_path / "here" / where
    config.write_text(f"[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = {top}\n")
    with pytest.raises(CliError, match="worktree"):
        Repository.of_working_directory()


def test_a_linked_working_tree_is_accepted(hostile, tmp_path, monkeypatch):
    (hostile.tree.path / ".git/config").write_text("")
    hostile.tree.git("-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", str(tmp_path / "linked"))
    monkeypatch.chdir(tmp_path / "linked")
    assert Repository.of_working_directory().work_tree == tmp_path / "linked"


def test_a_symbolic_ref_of_ado_does_not_change_its_branch(hostile):
    (hostile.tree.path / ".git/config").write_text("")
    head = hostile.tree.git("rev-parse", "main")
    ref = hostile.tree.path / ".git/refs/ado/task-1/0"
    ref.parent.mkdir(parents=True)
    ref.write_text("ref: refs/heads/main\n")
    fetch(Repository.of_working_directory(), result_of(hostile), Delivered(hostile.bundle))
    assert hostile.tree.git("rev-parse", "main") == head
    assert hostile.tree.git("rev-parse", "refs/ado/task-1/0").strip() == hostile.commit


def test_trees_that_expand_to_too_many_files_are_refused(hostile):
    (hostile.tree.path / ".git/config").write_text("")
    made = hostile.tree.raw_tree(("100644", "f", hostile.tree.blob("x")))
    for _ in range(9):
        made = hostile.tree.raw_tree(*(("40000", f"d{number}", made) for number in range(10)))
    bomb = hostile.tree.git("commit-tree", made, "-p", hostile.base, stdin=b"bomb\n").strip()
    about = {"branch": "ado/task-1", "commit": bomb, "base": hostile.base}
    result = JobResult.of("task-1", {"job": 0, "kind": "result", "about": about})
    bundle = hostile.tree.bundle(hostile.bundle, bomb)
    with pytest.raises(CliError, match="more files than can be laid out"):
        fetch(Repository.of_working_directory(), result, Delivered(bundle))


def test_a_blob_that_is_named_too_often_is_refused(hostile, monkeypatch):
    monkeypatch.setenv("ADO_FILE_BYTES", "1000")
    (hostile.tree.path / ".git/config").write_text("")
    blob = hostile.tree.blob("x" * 1000)
    made = hostile.tree.raw_tree(*(("100644", f"f{number}", blob) for number in range(9)))
    commit = hostile.tree.git("commit-tree", made, "-p", hostile.base, stdin=b"x\n").strip()
    about = {"branch": "ado/task-1", "commit": commit, "base": hostile.base}
    result = JobResult.of("task-1", {"job": 0, "kind": "result", "about": about})
    with pytest.raises(CliError, match="larger than 8000 bytes"):
        fetch(Repository.of_working_directory(), result, Delivered(hostile.tree.bundle(hostile.bundle, commit)))


def listing(*entries):
    return "".join(f"{scope}\0{key}\n{value}\0" for scope, key, value in entries).encode()


def test_filters_of_the_user_stay_active():
    config = read_config(listing(("global", "filter.lfs.clean", "git-lfs"), ("local", "filter.lfs.clean", "evil")))
    assert overrides(config, trusted=False) == (
        [("filter.lfs.clean", ""), ("filter.lfs.clean", "git-lfs")],
        ["filter.lfs.clean"],
    )
    same = read_config(listing(("global", "filter.lfs.clean", "git-lfs"), ("local", "filter.lfs.clean", "git-lfs")))
    assert overrides(same, trusted=False)[1] == []


def test_only_the_user_can_trust_a_repository():
    assert is_trusted(read_config(listing(("global", "ado.trustedrepository", "/here"))), "/here")
    assert is_trusted(read_config(listing(("command", "ado.trustedrepository", "*"))), "/here")
    assert not is_trusted(read_config(listing(("local", "ado.trustedrepository", "/here"))), "/here")
    trusted, told = overrides(read_config(listing(("local", "filter.x.clean", "x"))), trusted=True)
    assert (trusted, told) == ([], [])


def test_settings_follow_those_of_the_environment():
    found = environment([("a.b=c.d", "x")], {"GIT_CONFIG_COUNT": "2"})
    assert found == {"GIT_CONFIG_COUNT": "3", "GIT_CONFIG_KEY_2": "a.b=c.d", "GIT_CONFIG_VALUE_2": "x"}


def test_output_of_git_is_bounded_and_a_stream_may_be_closed_early(hostile, monkeypatch):
    (hostile.tree.path / ".git/config").write_text("")
    here = Repository.of_working_directory()
    monkeypatch.setattr("cli.repository.git._OUTPUT_BYTES", 10)
    with pytest.raises(GitError, match="more than 10 bytes"):
        here.git("ls-tree", "-r", "HEAD")
    with here.stream("ls-tree", "-r", "HEAD") as output:
        assert output.read(1)
    with pytest.raises(GitError, match="Not a valid"), here.stream("ls-tree", "nothing") as output:
        output.read()
