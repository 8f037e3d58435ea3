"""Commits beside the result: other branches, tags, stashes and nested repositories, also hostile ones."""

import os
import shutil

import pytest
from support.repositories import Tree
from support.workspaces import Laid, poison

from worker.output.masking import Secrets
from worker.repository.refs import read_refs

SECRET = "Hunter2-Secret-Value-77"


async def test_other_branches_tags_stashes_and_reset_commits_are_returned(laid):
    agent = laid.agent
    agent.git("checkout", "--quiet", "-b", "topic/one")
    agent.commit({"topic": "1\n"}, "on a branch")
    agent.git("tag", "-a", "-m", "a tag", "v1")
    agent.git("checkout", "--quiet", "--orphan", "fresh")
    agent.commit({"fresh": "1\n"}, "an orphan")
    agent.git("checkout", "--quiet", "--detach", "main")
    agent.commit({"detached": "1\n"}, "on no branch")
    agent.git("checkout", "--quiet", "main")
    agent.commit({"reset": "1\n"}, "reset away")
    agent.git("reset", "--quiet", "--hard", "HEAD~1")
    for number in range(2):
        agent.write({"a": f"stashed {number}\n"})
        agent.git("stash")
    agent.git("pack-refs", "--all")
    agent.git("branch", "empty")
    snapshot, _ = await laid.result()
    assert not snapshot.changed
    assert snapshot.left_out == ()
    brought = laid.brought()
    assert {"branch/topic/one", "branch/fresh", "stash/0", "stash/1"} <= set(brought)
    lost = [ref for ref in brought if ref.startswith("commit/")]
    assert len(brought) == 6
    assert len(lost) == 2
    assert laid.show("branch/topic/one", "topic") == laid.show("branch/fresh", "fresh") == "1\n"
    assert laid.show("stash/0", "a") == "stashed 1\n"
    assert laid.show("stash/1", "a") == "stashed 0\n"
    home = Tree(laid.base / "laptop", init=False)
    shown = {home.git("log", "-1", "--format=%s", extra.commit).strip() for extra in laid.workspace.extras.commits}
    assert {"on no branch", "reset away"} <= shown


async def test_commits_of_the_current_branch_are_only_in_the_result(laid):
    laid.agent.commit({"a": "2\n"})
    laid.agent.commit({"a": "3\n"})
    laid.agent.git("checkout", "--quiet", "--detach")
    laid.agent.commit({"a": "4\n"})
    _, files = await laid.result()
    assert files["a"] == "4\n"
    assert laid.brought() == {}


async def test_a_repository_that_the_agent_recreated_is_returned(laid):
    shutil.rmtree(laid.tree / ".git")
    laid.agent.git("init", "--quiet")
    laid.agent.commit({"a": "2\n"})
    laid.agent.git("checkout", "--quiet", "-b", "other")
    laid.agent.commit({"b": "2\n"})
    laid.agent.git("checkout", "--quiet", "-")
    _, files = await laid.result()
    assert files["a"] == "2\n"
    assert laid.brought() == {"branch/other": "branch other"}
    assert laid.show("branch/other", "b") == "2\n"


async def test_another_ref_with_a_secret_is_named_and_stays(laid):
    laid.workspace.secrets = Secrets([SECRET])
    agent = laid.agent
    agent.commit({"config": SECRET}, "with a secret")
    agent.git("rm", "--quiet", "config")
    agent.commit({"a": "2\n"}, "without")
    agent.git("checkout", "--quiet", "-b", "topic")
    agent.commit({"topic": "1\n"}, "on top of it")
    agent.git("checkout", "--quiet", "main")
    agent.git("branch", "message", "HEAD")
    snapshot, files = await laid.result()
    assert files["a"] == "2\n"
    assert snapshot.left_out == ("branch topic (it contains a secret of the worker)",)
    assert laid.brought() == {}


async def test_hostile_and_broken_refs_do_not_affect_others(laid, tmp_path):
    git_dir = laid.tree / ".git"
    agent = laid.agent
    poison(laid.tree, tmp_path / "executed")
    blob = agent.blob("x\n")
    evil = agent.raw_commit(agent.raw_tree(("40000", ".git", agent.raw_tree(("100644", "config", blob)))))
    heads = git_dir / "refs" / "heads"
    (heads / "evil").write_text(f"{evil}\n")
    (heads / "blob").write_text(f"{blob}\n")
    (heads / "missing").write_text("1" * 40)
    (heads / "junk").write_bytes(b"\xff\0" * 100)
    (heads / "link").symlink_to("/etc/passwd")
    (heads / "loop").symlink_to(heads)
    os.mkfifo(heads / "fifo")
    (git_dir / "HEAD").write_bytes(b"\xff" * 5000)
    (git_dir / "packed-refs").write_bytes(b"\0\n" * 100_000 + b"1" * 40 + b" refs/heads/\n")
    (git_dir / "logs").mkdir(exist_ok=True)
    (git_dir / "logs" / "HEAD").write_bytes(b"x y z\n" * 1000)
    laid.agent.write({"a": "2\n"})
    snapshot, files = await laid.result()
    assert files["a"] == "2\n"
    assert laid.brought() == {}
    named = " ".join(snapshot.left_out)
    for name in ("evil", "blob", "missing"):
        assert f"branch {name} (" in named
    assert not (tmp_path / "executed").exists()


def borrow(git_dir, other, how):
    """Have a repository use the objects of another one."""
    if how == "alternates":
        with (git_dir / "objects/info/alternates").open("a") as file:
            file.write(f"{other / 'objects'}\n")
    elif how == "packs":
        (git_dir / "objects/pack").rmdir()
        (git_dir / "objects/pack").symlink_to(other / "objects/pack")
    else:
        for pack in (other / "objects/pack").iterdir():
            (git_dir / "objects/pack" / pack.name).symlink_to(pack)


@pytest.mark.parametrize("how", ["alternates", "packs", "files"])
@pytest.mark.parametrize("named", ["refs", "logs"])
async def test_no_other_repository_of_the_machine_is_returned(laid, tmp_path, how, named):
    """The worker reads the agent's refs and objects from outside of its sandbox."""
    private = Tree(tmp_path / "private")
    commit = private.commit({"private": "PRIVATE\n"})
    private.git("repack", "-a", "-d", "-q")
    git_dir = laid.tree / ".git"
    if named == "refs":
        (git_dir / "refs/heads/stolen").write_text(f"{commit}\n")
    else:
        shutil.rmtree(git_dir / "logs", ignore_errors=True)
        (git_dir / "logs").symlink_to(private.path / ".git/logs")
    borrow(git_dir, private.path / ".git", how)
    laid.agent.write({"a": "2\n"})
    _, files = await laid.result()
    assert files["a"] == "2\n"
    assert laid.brought() == {}


async def test_refs_that_links_lead_to_are_not_read(laid, tmp_path):
    """Their names alone would reveal another repository."""
    private = Tree(tmp_path / "private")
    private.commit({"private": "PRIVATE\n"})
    shutil.rmtree(laid.tree / ".git/logs", ignore_errors=True)
    (laid.tree / ".git/logs").symlink_to(private.path / ".git/logs")
    assert all(ref.kind != "commit" for ref in read_refs(laid.tree / ".git").others)


async def test_branches_and_directories_with_names_of_any_bytes_are_returned(laid):
    agent = laid.agent
    for number, name in enumerate((b"caf\xc3\xa9", b"b\xe9", b"x y", b"X-Y", b"a/b", b"a", b"-f", b"q.lock")):
        commit = agent.git("commit-tree", "-p", "HEAD", "-m", f"number {number}", "HEAD^{tree}").strip()
        path = laid.tree / ".git" / "packed-refs"
        with path.open("ab") as file:
            file.write(commit.encode() + b" refs/heads/" + name + b"\n")
    for name in (b"nested \xe9\n", "ü x".encode()):
        inner = Tree(laid.tree / os.fsdecode(name))
        inner.commit({"x": "1\n"})
    snapshot, _ = await laid.result()
    brought = laid.brought()
    assert snapshot.left_out == ()
    assert len(brought) == 10
    assert 'branch "b\\351"' in brought.values()
    home = Tree(laid.base / "laptop", init=False)
    for extra in laid.workspace.extras.commits:
        home.git("update-ref", f"refs/ado/task-1/extra/0/{extra.ref}", extra.commit)


async def test_a_nested_repository_that_is_too_large_is_named(tmp_path, source):
    laid = await Laid(tmp_path, source, source.commit({"a": "1\n"}), limit=20_000).lay()
    Tree(laid.tree / "inner").commit({"x": "1\n"})
    (laid.tree / "inner" / "noise").write_text(os.urandom(9_500).hex())
    (laid.tree / "noise").write_text(os.urandom(9_500).hex())
    snapshot, files = await laid.result()
    assert "noise" in files
    assert laid.brought() == {}
    assert snapshot.left_out[0].startswith("files of inner/ (what was done takes")


async def test_a_submodule_is_neither_entered_nor_changed(tmp_path, source):
    source.commit({"a": "1\n"})
    link = "1234567890123456789012345678901234567890"
    source.git("update-index", "--add", "--cacheinfo", f"160000,{link},sub")
    source.git("commit", "--quiet", "-m", "a submodule")
    laid = await Laid(tmp_path, source, source.git("rev-parse", "HEAD").strip()).lay()
    inner = Tree(laid.tree / "sub")
    inner.commit({"x": "1\n"})
    poison(inner.path, tmp_path / "executed")
    inner.write({"x": "2\n"})
    laid.agent.write({"a": "2\n"})
    snapshot, files = await laid.result()
    assert files == {"a": "2\n", "sub": "commit"}
    assert snapshot.left_out == ()
    assert laid.show("nested/sub", "sub/x") == "2\n"
    assert not (tmp_path / "executed").exists()


async def test_files_in_the_place_of_a_submodule_are_reported(tmp_path, source):
    source.commit({"a": "1\n"})
    link = "1234567890123456789012345678901234567890"
    source.git("update-index", "--add", "--cacheinfo", f"160000,{link},sub")
    source.git("commit", "--quiet", "-m", "a submodule")
    laid = await Laid(tmp_path, source, source.git("rev-parse", "HEAD").strip()).lay()
    laid.agent.write({"sub/file": "x\n", "a": "2\n"})
    snapshot, files = await laid.result()
    assert files == {"a": "2\n", "sub": "commit"}
    assert snapshot.left_out == ()
    assert laid.show("nested/sub", "sub/file") == "x\n"
