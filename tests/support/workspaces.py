"""A job's repository on a worker, with the agent's directory and the result that the user gets."""

import shutil

from app.core.pack_check import PackLimits
from support.repositories import Tree
from worker.processes.directories import AttemptDirectory
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
        """Return the commits beside the result."""
        return {extra.ref: extra.text for extra in self.workspace.extras.commits}

    def show(self, ref, path):
        """Return a file of a commit beside the result, as the user gets it."""
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
    """Let a repository's configuration, hooks and attributes execute a program in every place where git would."""
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
