"""Lays out the files that a task brings besides its repository: in the job's directory, for its user alone.

They come as a commit of their own. git writes them, so no path leads outside or through a link, and none replaces a
file of the repository.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from app.core.git import GitError, quoted
from worker.repository.git import git

_NAMES_BYTES = 4 * 1024 * 1024
_PATTERN_SIGNS = re.compile(rb"[\\*?\[\]!# ]")
_UNCHANGED = "* -text -eol -ident -filter -working-tree-encoding\n"
"""Attributes with which git writes files as they are; those of the repository would change line ends."""


async def lay_out(commit: str, store: Path, git_dir: Path, job_dir: Path) -> frozenset[bytes]:
    """Write a commit's files; ``git_dir`` is a new repository. Return their paths. Raises GitError, OSError."""
    listing = await git("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit, git_dir=store, limit=_NAMES_BYTES)
    names = [name for name in listing.split(b"\0") if name]
    (git_dir / "info").mkdir(exist_ok=True)
    (git_dir / "info" / "attributes").write_text(_UNCHANGED, "ascii")
    env = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(store / "objects")}
    await git("read-tree", commit, git_dir=git_dir, env=env)
    _refuse_existing(job_dir, names)
    await git("checkout-index", "--all", "--quiet", git_dir=git_dir, work_tree=job_dir, env=env)
    _close_to_others(job_dir, names)
    _exclude(job_dir, names)
    return frozenset(names)


def _refuse_existing(job_dir: Path, names: list[bytes]) -> None:
    for name in names:
        if os.path.lexists(job_dir / os.fsdecode(name)):
            raise GitError(f"{quoted(name)} is brought along, but it is in the repository as well")


def _close_to_others(job_dir: Path, names: list[bytes]) -> None:
    for name in names:
        path = job_dir / os.fsdecode(name)
        if not path.is_symlink():
            path.chmod(0o700 if path.stat().st_mode & 0o100 else 0o600)


def _exclude(job_dir: Path, names: list[bytes]) -> None:
    """Let the agent's own git ignore the files, whatever the repository says, so that it does not commit them."""
    info = job_dir / ".git" / "info"
    info.mkdir(exist_ok=True)
    patterns = [b"/" + _PATTERN_SIGNS.sub(rb"\\\g<0>", name) for name in names if b"\n" not in name]
    (info / "exclude").write_bytes(b"".join(pattern + b"\n" for pattern in patterns))
