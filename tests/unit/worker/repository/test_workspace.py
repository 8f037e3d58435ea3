"""The repository on the worker, with real git and hostile agents; the server's files are a directory here."""

import base64
import os
import shutil
from dataclasses import replace

import pytest
from support.repositories import Tree

from app.core.git import GitError
from app.core.pack_check import PackLimits
from worker.output.masking import Secrets
from worker.processes.directories import AttemptDirectory
from worker.repository.refs import read_refs
from worker.repository.workspace import Base, JobWorkspace, import_bundle

LIMIT = 10_000_000
LIMITS = PackLimits.of_result(LIMIT)


class LocalFiles:
    """Stands for the server, whose own tests have it: hands out the one bundle that a task has."""

    def __init__(self, bundle, limit=LIMIT):
        self.bundle = bundle
        self.limit = limit

    async def list(self, task_id):
        return [{"fileId": "file-1"}]

    async def fetch(self, file, path):
        shutil.copyfile(self.bundle, path)


class Laid:
    """A workspace that is laid out, the agent's directory, and its snapshots."""

    def __init__(self, tmp_path, source, commit, limit=LIMIT):
        self.source = source
        self.base = tmp_path / "task-1-0"
        for part in ("job", "home", "tmp"):
            (self.base / part).mkdir(parents=True)
        self.tree = self.base / "job"
        bundle = source.bundle(tmp_path / "base.bundle", commit)
        base = Base.of({"commit": commit, "fileId": "file-1", "branch": "main"})
        self.workspace = JobWorkspace(
            AttemptDirectory(self.base, 0, True), base, LocalFiles(bundle, limit), "task-1", frozenset()
        )
        self.agent = Tree(self.tree, init=False)

    async def lay(self):
        await self.workspace.fill()
        await self.workspace.check_out()
        return self

    def brought(self):
        """Return what came home beside the result."""
        return {extra.ref: extra.text for extra in self.workspace.extras.commits}

    def show(self, ref, path):
        """Return a file of what came home beside the result, as the laptop gets it."""
        (commit,) = (extra.commit for extra in self.workspace.extras.commits if extra.ref == ref)
        return Tree(self.base / "laptop", init=False).git("show", f"{commit}:{path}")

    async def result(self):
        """Take the last snapshot; return it and the files of its commit, as the laptop gets them."""
        bundle = self.base / "result.bundle"
        snapshot = await self.workspace.last_snapshot(bundle, "refs/heads/ado/task-1", "done\n", "agent")
        if bundle.stat().st_size:
            home = Tree(self.base / "laptop", init=True)
            home.git("fetch", "--quiet", str(self.source.path), "main")
            first = await import_bundle(home.path / ".git", bundle, LIMITS)
        if snapshot.changed:
            assert first == snapshot.commit
            listed = home.git("ls-tree", "-r", snapshot.commit).splitlines()
            entries = [line.split(None, 3) for line in listed]
            return snapshot, {
                name: home.git("cat-file", "blob", sha) if kind == "blob" else kind for _, kind, sha, name in entries
            }
        return snapshot, None


@pytest.fixture
def source(tmp_path):
    return Tree(tmp_path / "source")


@pytest.fixture
async def laid(tmp_path, source):
    commit = source.commit({"a": "1\n", "dir/b": "2\n", ".gitignore": "*.log\n"})
    return await Laid(tmp_path, source, commit).lay()


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


EVIL = """
[core]
    fsmonitor = touch {mark}
    hooksPath = {hooks}
    sshCommand = touch {mark}
    pager = touch {mark}
    editor = touch {mark}
    attributesFile = {hooks}/attributes
[filter "evil"]
    clean = sh -c 'touch {mark}; cat'
    smudge = sh -c 'touch {mark}; cat'
    process = touch {mark}
    required = true
[diff "evil"]
    textconv = touch {mark}
    command = touch {mark}
[diff]
    external = touch {mark}
[alias]
    status = !touch {mark}
    index-pack = !touch {mark}
[include]
    path = {hooks}/more
[uploadpack]
    packObjectsHook = touch {mark}
[gpg]
    program = touch {mark}
[commit]
    gpgSign = true
"""


def poison(tree, mark, git_dir=None):
    """Let a repository's own configuration, hooks and attributes execute something wherever git would do it."""
    git_dir = git_dir or tree / ".git"
    hooks = git_dir / "hooks"
    hooks.mkdir(exist_ok=True)
    (git_dir / "info").mkdir(exist_ok=True)
    for name in ("pre-commit", "post-checkout", "post-index-change", "reference-transaction", "fsmonitor-watchman"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (hooks / name).chmod(0o755)
    with (git_dir / "config").open("a") as file:
        file.write(EVIL.format(mark=mark, hooks=hooks))
    for place in (hooks / "attributes", git_dir / "info" / "attributes", tree / ".gitattributes"):
        place.write_text("* filter=evil diff=evil\n")


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
    """Their names alone would tell of another repository."""
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
