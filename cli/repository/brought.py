"""Ignored files that travel with a task: chosen by patterns, and sent as a commit of their own.

The commit is made in a temporary repository. It has no parent and is on no branch, so its files are in no history: the
worker writes them into the job's directory and leaves them out of the result.
"""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app.core.git import GitError, listed, looks_secret, quoted
from cli.errors import usage
from cli.output import talk
from cli.repository.git import Repository, failed

_FILES = 1000
_BYTES = 64 * 1024 * 1024
_REF = "refs/heads/brought"


@dataclass(frozen=True, slots=True)
class BroughtFiles:
    """The commit of the files, and the directory with its objects."""

    commit: str
    objects: Path


@contextmanager
def brought_files(repository: Repository, patterns: Sequence[str], length: int) -> Iterator[BroughtFiles | None]:
    """Yield the ignored files that match, for a repository whose ids have ``length`` characters. Raises CliError."""
    with tempfile.TemporaryDirectory(prefix="ado-") as name:
        try:
            paths = _choose(repository, patterns) if patterns else []
            if not paths:
                yield None
                return
            made = Repository.bare(Path(name) / "brought", length)
            commit = _commit(made, repository, paths, Path(name) / "stream")
        except (GitError, OSError) as error:
            raise failed(str(error), "correct what --bring or .ado.toml names") from error
        talk(f"ado: brought along: {listed(paths)}")
        yield BroughtFiles(commit, made.git_dir / "objects")


def _choose(repository: Repository, patterns: Sequence[str]) -> list[str]:
    """Return the ignored files that match; one that looks like a secret must be named as it is."""
    chosen: dict[str, None] = {}
    for pattern in patterns:
        named = pattern.removeprefix("./")
        if not named.strip("/") or named.startswith("/") or "\0" in named or ".." in named.split("/"):
            raise usage(f"--bring {pattern!r} is no path in the repository", "name it from the repository's top")
        words = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", f":(glob){named}")
        matches = repository.names(*words, env={"GIT_LITERAL_PATHSPECS": "0"})
        files = [path for path in matches if not path.endswith("/") and (path == named or not looks_secret(path))]
        if left := sorted(set(matches) - set(files)):
            talk(
                f"ado: not brought, because it looks like a secret or is a repository of its own: {listed(left)}; "
                f"name a secret as it is: --bring {quoted(left[0])}"
            )
        elif not files:
            talk(f"ado: --bring {quoted(pattern)}: no ignored file has this name")
        chosen.update(dict.fromkeys(files))
    if len(chosen) > _FILES:
        raise usage(f"--bring names {len(chosen)} files; the limit is {_FILES}", "name fewer, or make them by --setup")
    return list(chosen)


def _commit(made: Repository, repository: Repository, paths: Sequence[str], stream: Path) -> str:
    """Commit files into an empty repository; return the commit. Raises GitError, OSError, CliError."""
    top, left = repository.work_tree, _BYTES
    assert top is not None
    with stream.open("w+b") as file:
        who = b"ado <ado@localhost> 0 +0000"
        file.write(b"commit %s\ncommitter %s\ndata 14\nBrought files\n\n" % (_REF.encode(), who))
        for path in paths:
            mode, size, data = _open(top, path)
            with data:
                left -= size
                if left < 0:
                    raise usage(f"--bring names more than {_BYTES} bytes", "name fewer, or make them by --setup")
                content = data.read(size)
            file.write(b"M %s inline %s\ndata %d\n" % (mode, _escaped(path), len(content)))
            file.write(content + b"\n")
        file.seek(0)
        made.git("fast-import", "--quiet", stdin=file)
    stream.unlink()
    return made.text("rev-parse", "--verify", f"{_REF}^{{commit}}")


def _open(top: Path, path: str) -> tuple[bytes, int, IO[bytes]]:
    """Return the mode for git, the size and the content of a file or of a link. Raises OSError, CliError."""
    file = top / path
    if file.is_symlink():
        if not file.resolve().is_relative_to(top.resolve()):
            raise usage(f"{quoted(path)} is a link that leads out of the repository", "name the file itself")
        target = os.fsencode(file.readlink())
        return b"120000", len(target), io.BytesIO(target)
    content = os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    status = os.fstat(content.fileno())
    if not stat.S_ISREG(status.st_mode):
        content.close()
        raise usage(f"{quoted(path)} is no file", "name another one")
    return (b"100755" if status.st_mode & 0o100 else b"100644"), status.st_size, content


def _escaped(path: str) -> bytes:
    """Return a path as a C string, which may hold any byte."""
    return b'"' + b"".join(b"\\%03o" % byte for byte in os.fsencode(path)) + b'"'
