"""Real git repositories for tests."""

import os
import subprocess

from . import forkserver

SETTINGS = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "me",
    "GIT_AUTHOR_EMAIL": "me@example.org",
    "GIT_COMMITTER_NAME": "me",
    "GIT_COMMITTER_EMAIL": "me@example.org",
}


class Tree:
    """A repository with a working tree."""

    def __init__(self, path, *, init=True):
        self.path = path
        if init:
            path.mkdir(exist_ok=True)
            self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words, check=True, stdin=None):
        done = subprocess.run(
            ["git", *words], cwd=self.path, env={**os.environ, **SETTINGS}, capture_output=True, check=False,
            input=stdin,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.decode()

    def write(self, files):
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit(self, files, message="a commit"):
        self.write(files)
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "-m", message)
        return self.git("rev-parse", "HEAD").strip()

    def bundle(self, path, commit):
        """Write a bundle without asking git whether its objects are sound."""
        with path.open("wb") as file:
            file.write(f"# v2 git bundle\n{commit} refs/heads/x\n\n".encode())
            file.flush()
            subprocess.run(
                ["git", "pack-objects", "--revs", "--stdout", "-q"], cwd=self.path, input=f"{commit}\n".encode(),
                stdout=file, check=True,
            )  # fmt: skip
        return path

    def raw_tree(self, *entries):
        """Make a tree that git itself would refuse to make; an entry is (mode, name, object)."""
        data = b"".join(f"{mode} {name}".encode() + b"\0" + bytes.fromhex(sha) for mode, name, sha in entries)
        return self.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=data).strip()

    def raw_commit(self, tree):
        return self.git("commit-tree", tree, stdin=b"evil\n").strip()

    def blob(self, text):
        return self.git("hash-object", "-w", "--stdin", stdin=text.encode()).strip()


class Checkout(Tree):
    """The user's repository, and the program run in it."""

    def __init__(self, path, cluster):
        super().__init__(path)
        self.cluster = cluster

    def ado(self, *arguments, check=0, cwd=None):
        env = {**self.cluster.client_env(), **SETTINGS}
        done = forkserver.run(arguments, env=env, cwd=str(cwd or self.path), timeout=90)
        assert done.returncode == check, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done

    def run(self, script, *options, check=0):
        return self.ado("run", "--remote", "--repo", "--agent", "shell", *options, script, check=check)

    def read(self, name):
        return (self.path / name).read_text()
