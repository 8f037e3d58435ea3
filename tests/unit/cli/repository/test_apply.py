"""Applying a result to a working tree with real git, for any filters, flags and history of the tree."""

import os
from pathlib import Path

import pytest
from support.repositories import SETTINGS, Tree

from cli.errors import CliError
from cli.repository.apply import apply, shown_by
from cli.repository.git import Repository
from cli.repository.results import JobResult, choose


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    tree = Tree(tmp_path / "here")
    settings = tmp_path / "gitconfig"
    settings.write_text(f"[ado]\n\ttrustedRepository = {tree.path}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.chdir(tree.path)
    return tree


def brought(tree, change, base="HEAD"):
    """Make a result as a worker does: a commit on top of the base, made without the user's filters."""
    base = tree.git("rev-parse", base).strip()
    other = Tree(tree.path.parent / f"other-{os.urandom(4).hex()}", init=False)
    tree.git("clone", "--quiet", "--no-local", str(tree.path), str(other.path))
    other.git("checkout", "--quiet", "--detach", base)
    change(other)
    other.git("add", "--all", "--force")
    other.git("commit", "--quiet", "-m", "work")
    commit = other.git("rev-parse", "HEAD").strip()
    tree.git("fetch", "--quiet", str(other.path), "HEAD")
    return result(base, commit)


def result(base, commit, branch="ado/task-1", **more):
    return JobResult.of("task-1", {"job": 0, "kind": "result", "about": about(base, commit, branch, **more)})


def about(base, commit, branch="ado/task-1", **more):
    return {"branch": branch, "commit": commit, "base": base, **more}


def status(tree):
    return sorted(tree.git("status", "--porcelain", "-uall").splitlines())


def take(work):
    return apply(Repository.of_working_directory(), work)


def test_files_of_every_kind_are_written(here):
    here.commit({"a": "1\n", "gone": "1\n", "file": "1\n", "dir/x": "1\n"})

    def change(other):
        other.write({"a": "2\n", "new/deep": "1\n"})
        for name in ("gone", "file", "dir/x"):
            (other.path / name).unlink()
        (other.path / "dir").rmdir()
        other.write({"file/inside": "1\n", "dir": "now a file\n"})
        (other.path / "link").symlink_to("nowhere")
        (other.path / "run").write_text("#!/bin/sh\n")
        (other.path / "run").chmod(0o755)
        (other.path / os.fsdecode(b'b\351 \n"')).write_bytes(b"\0\377")

    work = brought(here, change)
    done = take(work)
    assert len(done.paths) == 10
    assert (here.path / os.fsdecode(b'b\351 \n"')).read_bytes() == b"\0\377"
    assert str((here.path / "link").readlink()) == "nowhere"
    assert os.access(here.path / "run", os.X_OK)
    assert not (here.path / "gone").exists()
    here.git("add", "--all")
    assert here.git("diff", "--cached", work.commit) == ""


def test_the_suggested_command_shows_the_changes(here):
    here.commit({"a": "1\n", ".gitignore": "*.log\n"})
    repository = Repository.of_working_directory()
    edited = take(brought(here, lambda other: other.write({"a": "2\n"})))
    assert shown_by(repository, edited.paths) == "git diff"
    added = take(brought(here, lambda other: other.write({"new": "2\n"})))
    assert shown_by(repository, added.paths) == "git status"
    ignored = take(brought(here, lambda other: other.write({"x.log": "2\n"})))
    assert shown_by(repository, ignored.paths) == ""
    below = take(brought(here, lambda other: other.write({"deep/er/x": "2\n"})))
    assert shown_by(repository, below.paths) == "git status"
    here.git("config", "status.showUntrackedFiles", "no")
    assert shown_by(repository, below.paths) == ""


def test_the_directory_of_the_user_stays_without_its_last_file(here, monkeypatch):
    here.commit({"a": "1\n", "sub/deep/x": "1\n"})
    monkeypatch.chdir(here.path / "sub/deep")
    was = Path().stat().st_ino
    take(brought(here, lambda other: (other.path / "sub/deep/x").unlink()))
    assert (here.path / "sub/deep").stat().st_ino == was
    assert not list(Path().iterdir())


def test_a_file_outside_of_a_sparse_checkout_is_written(here):
    here.commit({"in/x": "1\n", "out/x": "1\n", "out/y": "1\n"})
    here.git("sparse-checkout", "set", "in")
    work = brought(here, lambda other: other.write({"in/x": "2\n", "out/x": "2\n", "out/new": "n\n"}))
    assert not (here.path / "out").exists()
    take(work)
    assert (here.path / "out/x").read_text() == (here.path / "in/x").read_text() == "2\n"
    assert status(here) == [" M in/x", " M out/x", "?? out/new"]


@pytest.mark.parametrize("flag", ["--skip-worktree", "--assume-unchanged"])
def test_changes_in_an_assume_unchanged_file_are_not_overwritten(here, flag):
    here.commit({"a": "1\n", "b": "1\n"})
    here.git("update-index", flag, "a", "b")
    here.write({"a": "mine\n"})
    with pytest.raises(CliError, match=r"overlap with the result: a$"):
        take(brought(here, lambda other: other.write({"a": "2\n", "b": "2\n"})))
    assert (here.path / "a").read_text() == "mine\n"
    take(brought(here, lambda other: other.write({"b": "2\n"})))
    assert (here.path / "b").read_text() == "2\n"


def lfs(tree, smudge="sed s/^pointer/content/"):
    """Let the user's repository have a filter that the worker does not have; ``here`` trusts the repository."""
    tree.git("config", "filter.lfs.clean", "sed s/^content/pointer/")
    tree.git("config", "filter.lfs.smudge", smudge)
    tree.git("config", "filter.lfs.required", "true")


def test_filters_run_and_only_the_result_differs(here):
    here.commit({".gitattributes": "*.bin filter=lfs\n", "a": "1\n", "x.bin": "pointer 1\n", "y.bin": "pointer 1\n"})
    lfs(here)
    for path in here.path.glob("*.bin"):
        path.unlink()
    here.git("checkout", "--quiet", ".")
    assert (here.path / "x.bin").read_text() == "content 1\n"
    take(brought(here, lambda other: other.write({"a": "2\n", "x.bin": "pointer 2\n"})))
    assert (here.path / "x.bin").read_text() == "content 2\n"
    assert status(here) == [" M a", " M x.bin"]
    here.git("checkout", "--quiet", ".")
    assert status(here) == []


@pytest.mark.parametrize("how", ["filter", "line ends"])
def test_an_unfiltered_result_is_recognised_as_applied(here, how):
    """An agent replaces a pointer of Git LFS by the content, or writes CRLF where the user's git stores LF."""
    name, text = ("x.bin", "content 2\n") if how == "filter" else ("x.txt", "1\r\n2\r\n")
    here.commit({".gitattributes": "*.bin filter=lfs\n", "x.bin": "pointer 1\n", "x.txt": "1\n"})
    lfs(here)
    if how == "line ends":
        here.git("config", "core.autocrlf", "true")
    for path in here.path.glob("x.*"):
        path.unlink()
    here.git("checkout", "--quiet", ".")
    work = brought(here, lambda other: (other.path / name).write_bytes(text.encode()))
    assert take(work).paths == [name]
    assert (here.path / name).read_bytes() == text.encode()
    assert take(work).already
    here.git("commit", "--quiet", "-am", "applied")
    assert status(here) == []
    assert take(work).already
    assert status(here) == []


def test_a_filter_that_fails_changes_nothing(here):
    here.commit({".gitattributes": "*.bin filter=lfs\n", "a": "1\n", "x.bin": "pointer 1\n", "z": "1\n"})
    lfs(here, smudge="false")
    here.write({"local": "mine\n"})
    before = status(here)
    work = brought(
        here, lambda other: other.write({"a": "2\n", "new/deep/b": "2\n", "x.bin": "pointer 2\n", "z": "2\n"})
    )
    with pytest.raises(CliError, match="nothing was changed: git apply"):
        take(work)
    assert status(here) == before
    assert [(here.path / name).read_text() for name in ("a", "x.bin", "z")] == ["1\n", "pointer 1\n", "1\n"]
    assert not (here.path / "new").exists()


@pytest.mark.parametrize(
    ("attributes", "settings"),
    [("", {"core.autocrlf": "true"}), ("* text=auto eol=crlf\n", {}), ("*.txt ident\n", {}), ("* -text\n", {})],
)
def test_line_ends_and_idents_change_no_other_file(here, attributes, settings):
    here.write({".gitattributes": attributes, "a.txt": "$Id$\n1\n2\n", "b.txt": "$Id$\n1\n", "c.txt": "x\n"})
    (here.path / "crlf.txt").write_bytes(b"1\r\n2\r\n")
    here.commit({})
    for name, value in settings.items():
        here.git("config", name, value)
    for path in here.path.glob("*.txt"):
        path.unlink()
    here.git("checkout", "--quiet", ".")
    before = status(here)

    def change(other):
        text = (other.path / "a.txt").read_bytes()
        (other.path / "a.txt").write_bytes(text.replace(b"2", b"two"))

    take(brought(here, change))
    assert status(here) == sorted([*before, " M a.txt"])
    assert here.git("diff", "--numstat").splitlines()[0] == "1\t1\ta.txt"
    line_end = b"\r\n" if settings or "crlf" in attributes else b"\n"
    assert b"two" + line_end in (here.path / "a.txt").read_bytes()


def test_a_file_with_an_unstable_filter_is_not_a_local_change(here):
    """A file committed before a filter was introduced differs from what the filter would make of it."""
    (here.path / "a.txt").write_bytes(b"1\r\n2\r\n3\r\n")
    os.utime(here.path / "a.txt", (1e9, 1e9))  # older than the index, so that git need not look into it
    here.commit({".gitattributes": "*.txt -text\n", "b": "1\n"})
    work = brought(here, lambda other: (other.path / "a.txt").write_bytes(b"1\r\ntwo\r\n3\r\n"))
    (here.path / ".git/info").mkdir(exist_ok=True)
    (here.path / ".git/info/attributes").write_text("*.txt text\n")
    take(work)
    assert b"two" in (here.path / "a.txt").read_bytes()


@pytest.mark.parametrize("how", ["merged", "same commit", "squashed", "edited", "applied"])
def test_an_applied_result_is_recognised(here, how):
    text = "".join(f"{number}\n" for number in range(9))
    here.commit({"a": text})
    work = brought(here, lambda other: other.write({"a": text.replace("4", "four"), "new": "n\n"}))
    take(work)
    if how == "merged":
        here.git("stash", "--include-untracked")
        here.git("merge", "--quiet", "--no-ff", work.commit)
    elif how != "applied":
        here.commit({"other": "squashed in\n"} if how == "squashed" else {})
    if how == "edited":
        here.commit({"a": text.replace("4", "IV"), "new": "other\n"})
    assert take(work).already
    assert not [line for line in status(here) if how != "applied"]


def test_a_merged_and_reverted_result_is_applied_again(here):
    here.commit({"a": "1\n"})
    work = brought(here, lambda other: other.write({"a": "2\n"}))
    here.git("merge", "--quiet", work.commit)
    here.git("revert", "--no-edit", "HEAD")
    assert take(work).paths == ["a"]
    assert (here.path / "a").read_text() == "2\n"


def test_a_result_fits_a_branch_without_a_commit(here):
    here.commit({"a": "1\n"})
    work = brought(here, lambda other: other.write({"new": "n\n"}))
    here.git("checkout", "--quiet", "--orphan", "fresh")
    here.git("rm", "--quiet", "-rf", ".")
    assert take(work).paths == ["new"]


def test_files_and_directories_in_the_way_are_named(here):
    here.commit({"a": "1\n"})

    def change(other):
        other.write({"x": "a file\n", "y/deep/z": "1\n"})

    work = brought(here, change)
    here.write({"x/mine": "1\n", "y": "mine\n"})
    with pytest.raises(CliError, match=r"overlap with the result: x/mine, y$"):
        take(work)
    assert status(here) == ["?? x/mine", "?? y"]


USERS = {
    "diff.noprefix": "true", "diff.mnemonicPrefix": "true", "diff.context": "0", "diff.external": "false",
    "color.ui": "always", "apply.whitespace": "error-all", "core.safecrlf": "true", "core.autocrlf": "input",
    "apply.ignoreWhitespace": "change", "status.branch": "true", "status.short": "true", "diff.renames": "copies",
    "status.showUntrackedFiles": "no", "core.quotePath": "false", "diff.submodule": "log", "diff.algorithm": "patience",
}  # fmt: skip


def test_settings_of_the_user_for_patches_do_not_affect_an_apply(here):
    text = "".join(f"{number}\n" for number in range(20))
    here.commit({"dir/a": text, "b": "x\n"})
    for name, value in USERS.items():
        here.git("config", name, value)
    wanted = text.replace("7", "seven  \t")
    work = brought(here, lambda other: other.write({"dir/a": wanted, "dir/new": " trailing \n\n\n"}))
    here.write({"untracked": "mine\n"})
    assert take(work).paths == ["dir/a", "dir/new"]
    assert (here.path / "dir/a").read_text() == wanted
    assert (here.path / "dir/new").read_text() == " trailing \n\n\n"
    assert take(work).already


def test_an_apply_in_a_linked_worktree_and_with_a_split_index_works(here):
    here.commit({"a": "1\n", "b": "1\n"})
    here.git("update-index", "--split-index")
    work = brought(here, lambda other: other.write({"a": "2\n"}))
    here.git("worktree", "add", "--quiet", "--detach", "../linked")
    assert take(work).paths == ["a"]
    os.chdir(here.path.parent / "linked")
    assert take(work).paths == ["a"]
    assert (here.path.parent / "linked/a").read_text() == "2\n"


def test_a_conflict_is_reported_and_changes_no_file(here):
    here.commit({"a": "1\n", "b": "1\n"})
    work = brought(here, lambda other: other.write({"a": "2\n", "b": "2\n"}))
    here.commit({"a": "3\n"})
    with pytest.raises(CliError, match=r"conflicts with what was committed here: a$"):
        take(work)
    assert status(here) == []


def test_ten_thousand_files_are_applied_in_a_linear_time(here):
    here.commit({f"d{number % 100}/{number}": "1\n" for number in range(5000)})
    work = brought(here, lambda other: other.write({f"d{number % 100}/{number}": "2\n" for number in range(5000)}))
    here.write({f"mine/{number}": "m\n" for number in range(5000)})
    assert len(take(work).paths) == 5000


COMMIT = "1" * 40


def extra(**more):
    return about(COMMIT, COMMIT, extras=[{"kind": "branch", "ref": "branch/x", "text": "x", "commit": COMMIT, **more}])


@pytest.mark.parametrize(
    "said",
    [
        None, 5, [], {}, {"branch": 1, "commit": 2, "base": 3}, about(COMMIT, "--output=/tmp/x"), about("HEAD", COMMIT),
        about(COMMIT, "x" * 40), about(COMMIT, COMMIT + "\n"), about(COMMIT, COMMIT, "-f"),
        about(COMMIT, COMMIT, "--force"), about(COMMIT, COMMIT, "main"), about(COMMIT, COMMIT, "ado/../main"),
        about(COMMIT, COMMIT, "ado/x\n"), about(COMMIT, COMMIT, "ado/x.lock"), about(COMMIT, COMMIT, "ado/@{-1}"),
        extra(ref="../../heads/main"), extra(ref="branch/../x"), extra(ref="main"), extra(ref=None),
        extra(commit="HEAD"),
        extra(ref="branch/x\n"), about(COMMIT, COMMIT, extras=[5]), about(COMMIT, COMMIT, extras=["x"]),
        about(COMMIT, COMMIT, extras=5), about(COMMIT, COMMIT, extras={"a": 1}),
    ],
)  # fmt: skip
def test_a_description_that_no_worker_writes_is_refused(said):
    with pytest.raises(CliError, match="the result of task-1, job 0, cannot be used"):
        choose("task-1", [{"job": 0, "kind": "result", "about": said}], None)


def test_the_result_of_one_of_several_jobs_is_named_with_its_job():
    files = [{"job": job, "kind": "result", "about": about(COMMIT, "2" * 40)} for job in range(2)]
    assert choose("task-1", files, 1).name == "task-1 --job 1"
    assert choose("task-1", files[:1], None).name == "task-1"
