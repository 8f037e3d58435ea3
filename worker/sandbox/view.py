"""Which files of the machine a job may read: the system, the programs on PATH, and ado itself.

A person's own directories are not readable. A program on PATH may be a link into one of them. So its links are followed
one by one, and only the files of the program are added (a Python environment, a ``node_modules``), not the directory
around them.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix",
    "/var/lib/ca-certificates", "/sys/devices/system/cpu", "/sys/fs/cgroup",
)  # fmt: skip
_LINKED = ("/etc/resolv.conf", "/etc/localtime", "/etc/hosts")
"""Files of the system that may be links to other directories, such as /run."""
_PACKAGES = ("app", "cli", "db", "sql", "worker")
_PROGRAM_DIRECTORIES = frozenset({"bin", "sbin", ".bin", "shims"})
_BESIDE_BIN = ("lib", "lib64", "libexec", "include", "share", "etc", "ssl", "Cellar", "opt", "pyvenv.cfg")
_BESIDE_LOCAL_BIN = ("lib", "libexec")  # its share holds a person's data
_MOST_LINKS = 40


def readable(path: str, given: Iterable[str], home: Path) -> list[str]:
    """Return what a job may read, parents before children; ``path`` is PATH, ``given`` are further paths."""
    view = _View(home)
    for name in SYSTEM:
        view.add(name)
    for name in _LINKED:
        view.add_file(name)
    for directory in path.split(os.pathsep):
        if directory.startswith("/"):
            view.add_programs(directory)
    for prefix in {sys.prefix, sys.base_prefix}:
        view.add_programs(f"{prefix}/bin")
    own = Path(__file__).parents[2]
    for name in (*(str(own / package) for package in _PACKAGES), *given):
        view.add_file(name)
    return view.paths()


def masked(paths: Iterable[str], hidden: Iterable[str]) -> Iterator[str]:
    """Yield the paths by which ``hidden`` files and directories are visible below readable ``paths``."""
    tops = [(Path(path), Path(path).resolve()) for path in paths]
    for name in hidden:
        real = Path(name).resolve()
        for shown, top in tops:
            if real.exists() and real.is_relative_to(top):
                yield str(shown / real.relative_to(top))


def private(top: str) -> Iterator[str]:
    """Yield the files and directories below ``top`` that not every user of the machine may read."""
    for directory, directories, files in os.walk(top):
        for names, needed in ((directories, 0o005), (files, 0o004)):
            for name in list(names):
                path = f"{directory}/{name}"
                with contextlib.suppress(OSError):
                    mode = os.lstat(path).st_mode
                    if not stat.S_ISLNK(mode) and mode & needed != needed:
                        yield path
                        if names is directories:
                            names.remove(name)


class _View:
    def __init__(self, home: Path) -> None:
        self._homes = {str(home), str(home.resolve()), "/"}
        self._found: set[str] = set()
        self._scanned: set[str] = set()

    def paths(self) -> list[str]:
        """Return the added paths, without those below others."""
        ordered = sorted(self._found, key=lambda path: Path(path).parts)
        tops: list[str] = []
        for path in ordered:
            if not tops or not _is_inside(path, tops[-1]):
                tops.append(path)
        return tops

    def add(self, path: str) -> None:
        """Add a file or a directory, if it exists."""
        if os.path.exists(path) and path not in self._homes:  # noqa: PTH110 - called for every program on PATH
            self._found.add(path)

    def add_file(self, path: str) -> None:
        """Add a file or a directory, and the targets of its links."""
        for hop in _hops(os.path.normpath(path)):
            self.add(hop)

    def add_programs(self, directory: str) -> None:
        """Add a directory of programs, with the targets of its links."""
        directory = os.path.normpath(directory)
        if directory in self._scanned or self._is_system(directory):
            return
        self._scanned.add(directory)
        self.add(directory)
        self._add_beside(directory)
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_symlink():
                    for hop in _hops(entry.path):
                        self._add_target(hop)

    def _add_beside(self, directory: str) -> None:
        """Add the directories of libraries and data that belong to a directory of programs."""
        prefix, name = os.path.split(directory)
        if name not in _PROGRAM_DIRECTORIES or prefix in self._homes:
            return
        if name == "shims":
            self.add(prefix)
        for part in _BESIDE_LOCAL_BIN if prefix.endswith("/.local") else _BESIDE_BIN:
            self.add(f"{prefix}/{part}")

    def _add_target(self, path: str) -> None:
        """Add the target of a program's link, with the files that it needs."""
        if self._is_system(path):
            return
        head, separator, _ = f"{path}/".partition("/node_modules/")
        directory = os.path.dirname(path)  # noqa: PTH120 - called for every program on PATH
        if separator:
            self.add(f"{head}/node_modules")
        elif os.path.basename(directory) in _PROGRAM_DIRECTORIES:  # noqa: PTH119 - as above
            self.add_programs(directory)
        else:
            self.add(path)

    @staticmethod
    def _is_system(path: str) -> bool:
        return any(_is_inside(path, top) for top in SYSTEM)


def _is_inside(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}/")


def _hops(path: str) -> Iterator[str]:
    """Yield a path and, one after the other, the targets of its links."""
    for _ in range(_MOST_LINKS):
        yield path
        try:
            target = os.readlink(path)  # noqa: PTH115 - as above
        except OSError:
            return
        path = os.path.normpath(os.path.join(os.path.dirname(path), target))  # noqa: PTH118, PTH120 - as above
