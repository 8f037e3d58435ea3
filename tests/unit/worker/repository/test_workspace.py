"""The repository on the worker, with real git and hostile agents; the server's files are a directory here."""

import base64
import os
import shutil
from dataclasses import replace

import pytest
from support.repositories import Tree
from support.workspaces import LIMITS, Laid, poison

from app.core.git import GitError
from worker.output.masking import Secrets
from worker.processes.directories import AttemptDirectory
from worker.repository.workspace import Base, JobWorkspace, import_bundle


async def test_the_agent_starts_in_a_clean_repository_with_its_history(laid):
    assert laid.agent.git("status", "--porcelain") == ""
    assert laid.agent.git("log", "--format=%s") == "a commit\n"
    assert laid.agent.git("symbolic-ref", "--short", "HEAD") == "main\n"


async def test_an_unchanged_tree_has_no_result(laid):
    snapshot, _ = await laid.result()
    assert not snapshot.changed


async def test_changes_new_files_and_deletions_are_in_the_result(laid):
    (laid.tree / "a").unlink()
    (laid.tree / "dir" / "b").write_text("3\n")
    (laid.tree / "dir" / "ü \n new").write_text("new\n")
    (laid.tree / "dir" / "run").write_text("#!/bin/sh\n")
    (laid.tree / "dir" / "run").chmod(0o755)
    snapshot, files = await laid.result()
    assert set(files) == {".gitignore", "dir/b", "dir/run", '"dir/\\303\\274 \\n new"'}
    assert files["dir/b"] == "3\n"
    assert (snapshot.files, snapshot.added, snapshot.removed) == (4, 3, 2)


async def test_commits_of_the_agent_are_in_the_result(laid):
    laid.agent.commit({"a": "committed\n", "new": "x\n"})
    _, files = await laid.result()
    assert (files["a"], files["new"]) == ("committed\n", "x\n")


async def test_a_file_replaced_by_a_directory_and_the_reverse_are_in_the_result(laid):
    (laid.tree / "a").unlink()
    laid.agent.write({"a/deep/file": "x\n"})
    shutil.rmtree(laid.tree / "dir")
    laid.agent.write({"dir": "now a file\n"})
    _, files = await laid.result()
    assert set(files) == {".gitignore", "a/deep/file", "dir"}


async def test_ignored_files_and_secrets_stay_and_secrets_are_reported(laid):
    laid.agent.write({"x.log": "", ".env": "S=1", "keys/id_rsa": "", "a.pem": "", ".env.example": "S=", "a": "2\n"})
    snapshot, files = await laid.result()
    assert set(files) == {".gitignore", ".env.example", "a", "dir/b"}
    assert sorted(snapshot.left_out) == [f"{name} (looks like a secret)" for name in (".env", "a.pem", "keys/id_rsa")]


async def test_a_committed_secret_stays_on_the_worker(laid):
    laid.agent.commit({".env": "S=1", "a": "2\n"})
    snapshot, files = await laid.result()
    assert ".env" not in files
    assert snapshot.left_out == (".env (looks like a secret)",)


async def test_a_file_that_is_too_large_is_reported(tmp_path, source):
    commit = source.commit({"a": "1\n"})
    laid = await Laid(tmp_path, source, commit, limit=10_000).lay()
    laid.agent.write({"a": "2\n"})
    with (laid.tree / "huge").open("wb") as file:
        file.truncate(1 << 40)
    snapshot, files = await laid.result()
    assert set(files) == {"a"}
    assert snapshot.left_out == (f"huge ({1 << 40} bytes, the limit is 10000)",)


async def test_a_result_over_the_limit_is_an_error_with_its_size(tmp_path, source):
    laid = await Laid(tmp_path, source, source.commit({"a": "1\n"}), limit=10_000).lay()
    (laid.tree / "noise").write_bytes(os.urandom(9_999))
    with pytest.raises(GitError, match=r"takes \d+ bytes packed; the limit is 10000"):
        await laid.result()
    for number in range(5):
        (laid.tree / f"noise{number}").write_bytes(os.urandom(9_999))
    with pytest.raises(GitError, match="6 changed files have 59994 bytes"):
        await laid.result()


SECRET = "Hunter2-Secret-Value-77"


async def test_a_file_with_a_secret_of_the_worker_stays_in_any_form(laid):
    laid.workspace.secrets = Secrets([SECRET])
    laid.agent.write({"config.ini": f"key={SECRET}\n", "coded": base64.b64encode(f"xx{SECRET}".encode()).decode()})
    laid.agent.write({f"named-{SECRET}": "x", "a": "2\n", "dir/b": f"2\n{SECRET}\n", "late": "x" * 3_000_000 + SECRET})
    (laid.tree / "link").symlink_to(SECRET)
    snapshot, files = await laid.result()
    assert files == {".gitignore": "*.log\n", "a": "2\n", "dir/b": "2\n"}
    why = "(contains a secret of the worker)"
    wanted = ("coded", "config.ini", "dir/b", "late", "link", f"named-{SECRET}")
    assert sorted(snapshot.left_out) == [f"{name} {why}" for name in wanted]


async def test_a_file_that_had_the_secret_before_is_in_the_result(tmp_path, source):
    commit = source.commit({"config.ini": f"key={SECRET}\n"})
    laid = await Laid(tmp_path, source, commit).lay()
    laid.workspace.secrets = Secrets([SECRET])
    laid.agent.write({"config.ini": f"key={SECRET}\nmore\n"})
    snapshot, files = await laid.result()
    assert files["config.ini"].endswith("more\n")
    assert not snapshot.left_out


async def test_names_of_any_bytes_empty_directories_and_special_files_are_reported(laid):
    for name in (b"b\xe9.pem", b"new\nline.pem", b'"q".pem'):
        (laid.tree / os.fsdecode(name)).write_text("k")
    for name in ("empty/deep", "x.log", "dir/sub"):
        (laid.tree / name).mkdir(parents=True)
    os.mkfifo(laid.tree / "fifo")
    (laid.tree / "a").unlink()
    os.mkfifo(laid.tree / "a")
    (laid.tree / os.fsdecode(b"ok\xff \n")).write_text("1\n")
    snapshot, files = await laid.result()
    assert set(files) == {".gitignore", "dir/b", '"ok\\377 \\n"'}
    assert sorted(snapshot.left_out) == [
        '"\\"q\\".pem" (looks like a secret)', '"b\\351.pem" (looks like a secret)',
        '"new\\nline.pem" (looks like a secret)', "dir/sub/ (an empty directory)", "empty/deep/ (an empty directory)",
    ]  # fmt: skip


async def test_the_start_directory_is_made_and_not_reported(tmp_path, source):
    laid = Laid(tmp_path, source, source.commit({"a": "1\n"}))
    for directory, wanted in (("new/deep", "new/deep"), ("a/x", ""), ("link/x", ""), ("n" * 300, "")):
        laid.workspace._base = Base.of(
            {"commit": laid.workspace._base.commit, "fileId": "file-1", "directory": directory}
        )
        if directory == "new/deep":
            await laid.lay()
            (laid.tree / "link").symlink_to(tmp_path)
        assert laid.workspace.start_directory() == laid.tree / wanted
    laid.workspace._base = replace(laid.workspace._base, directory="new/deep")
    (laid.tree / "link").unlink()
    snapshot, _ = await laid.result()
    assert not snapshot.changed
    assert not snapshot.left_out


async def test_no_program_of_the_repository_of_the_agent_is_executed(laid, tmp_path):
    mark = tmp_path / "executed"
    poison(laid.tree, mark)
    laid.agent.write({"a": "evil\n", "new": "x\n"})
    laid.agent.git("diff", check=False)
    assert mark.exists(), "the trap works where the agent's repository is trusted"
    mark.unlink()
    _, files = await laid.result()
    assert (files["a"], files["new"]) == ("evil\n", "x\n")
    assert not mark.exists()


async def test_a_replaced_or_missing_git_directory_does_not_change_the_result(laid, tmp_path):
    for kind in ("file", "link", "gone"):
        path = laid.tree / ".git"
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
        elsewhere = Tree(tmp_path / f"elsewhere-{kind}")
        poison(elsewhere.path, tmp_path / "executed")
        if kind == "file":
            path.write_text(f"gitdir: {elsewhere.path}/.git\n")
        elif kind == "link":
            path.symlink_to(elsewhere.path / ".git")
        laid.agent.write({"a": f"{kind}\n"})
        _, files = await laid.result()
        assert files["a"] == f"{kind}\n"
        assert set(files) == {".gitignore", "a", "dir/b"}
        shutil.rmtree(laid.base / "laptop")
    assert not (tmp_path / "executed").exists()


async def test_links_are_in_the_result_and_are_not_followed(laid, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b").write_text("not yours\n")
    shutil.rmtree(laid.tree / "dir")
    (laid.tree / "dir").symlink_to(outside)
    (laid.tree / "a").unlink()
    (laid.tree / "a").symlink_to("/etc/passwd")
    _, files = await laid.result()
    assert files == {".gitignore": "*.log\n", "a": "/etc/passwd", "dir": str(outside)}


async def test_files_of_nested_repositories_are_not_read(laid, tmp_path):
    inner = Tree(laid.tree / "inner")
    inner.commit({"x": "1\n"})
    poison(inner.path, tmp_path / "executed")
    inner.write({"x": "2\n"})
    laid.agent.write({"a": "2\n"})
    snapshot, files = await laid.result()
    assert set(files) == {".gitignore", "a", "dir/b"}
    assert snapshot.left_out == ()
    assert laid.brought() == {"nested/inner": "files of inner/"}
    assert laid.show("nested/inner", "inner/x") == "2\n"
    assert not (tmp_path / "executed").exists()


async def test_a_destroyed_store_is_fetched_again(laid):
    shutil.rmtree(laid.base / "store")
    laid.agent.write({"a": "2\n"})
    _, files = await laid.result()
    assert files["a"] == "2\n"


def evil_commits(tree):
    """Yield commits that a sound repository cannot hold."""
    blob = tree.blob("x\n")
    yield (
        "a .git directory",
        tree.raw_commit(tree.raw_tree(("40000", ".git", tree.raw_tree(("100644", "config", blob))))),
    )
    yield "a path out of the tree", tree.raw_commit(tree.raw_tree(("100644", "..", blob)))
    yield "a path with a slash", tree.raw_commit(tree.raw_tree(("100644", "a/../../b", blob)))
    modules = tree.blob('[submodule "x"]\n\tpath = x\n\turl = --upload-pack=evil\n')
    yield "a submodule's option", tree.raw_commit(tree.raw_tree(("100644", ".gitmodules", modules)))
    inside = tree.blob('[submodule "../../x"]\n\tpath = x\n\turl = https://example.org/x\n')
    yield "a submodule's name", tree.raw_commit(tree.raw_tree(("100644", ".gitmodules", inside)))


async def test_a_bundle_with_unsound_objects_is_refused(tmp_path, source):
    target = Tree(tmp_path / "target")
    for number, (what, commit) in enumerate(evil_commits(source)):
        bundle = source.bundle(tmp_path / f"{number}.bundle", commit)
        refused = None
        try:
            await import_bundle(target.path / ".git", bundle, LIMITS)
        except GitError as error:
            refused = str(error)
        assert refused, what
        assert "index-pack" in refused


async def test_a_file_that_is_no_bundle_is_refused(tmp_path):
    target = Tree(tmp_path / "target")
    for text in (b"", b"nonsense", b"# v2 git bundle\n", b"# v2 git bundle\nzz\n\n", b"# v2 git bundle\n\nPACK"):
        path = tmp_path / "x.bundle"
        path.write_bytes(text)
        with pytest.raises(GitError):
            await import_bundle(target.path / ".git", path, LIMITS)


async def test_a_shallow_clone_is_sent_as_a_shallow_clone(tmp_path, source):
    source.commit({"a": "1\n"})
    source.commit({"a": "2\n"}, "second")
    clone = Tree(tmp_path / "clone", init=False)
    source.git("clone", "--quiet", "--depth=1", f"file://{source.path}", str(clone.path))
    commit = clone.git("rev-parse", "HEAD").strip()
    laid = Laid(tmp_path, clone, commit)
    base = Base.of({"commit": commit, "fileId": "file-1", "branch": "main", "shallow": [commit]})
    laid.workspace = JobWorkspace(
        AttemptDirectory(laid.base, 0, True), base, laid.workspace._files, "task-1", frozenset()
    )
    await laid.lay()
    assert laid.agent.git("log", "--format=%s") == "second\n"
    laid.agent.write({"a": "3\n"})
    _, files = await laid.result()
    assert files == {"a": "3\n"}
