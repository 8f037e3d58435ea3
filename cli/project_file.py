"""``.ado.toml`` at a repository's top: defaults for the options of ``ado run`` in that repository.

The repository may be hostile. The file is data, and what it sets is shown. It cannot choose a program as the agent,
widen what an agent may do, or name secrets. Nothing of it runs on this machine unless the user trusts the repository.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from app.core.git import listed, looks_secret
from cli.agents import PROGRAMS
from cli.errors import CliError, nearest, usage
from cli.output import talk
from cli.repository.git import Repository

NAME = ".ado.toml"
_COMMANDS = frozenset({"setup", "check", "check_tries", "check_timeout"})
"""Commands, and what is said of them."""
_OF_WORKERS = frozenset({"approve"})
"""What means nothing without a worker: on this machine an agent decides by its user's own settings."""
_BYTES = 64 * 1024
Options = TypeVar("Options")


class _Keys(msgspec.Struct, rename="kebab", omit_defaults=True):
    """The keys; each is named as its option, but for the plural of labels."""

    agent: str | None = None
    model: str | None = None
    approve: Literal["ask", "edits", "all", "none"] | None = None
    setup: str | None = None
    check: str | list[str] | None = None
    check_tries: int | None = None
    check_timeout: str | None = None
    max_cost: float | None = None
    max_tokens: int | None = None
    max_turns: int | None = None
    on_budget: Literal["ask", "fail"] | None = None
    timeout: str | None = None
    retries: int | None = None
    start_within: str | None = None
    priority: int | None = None
    labels: dict[str, str] | None = None
    require: list[str] | None = None
    bring: list[str] | None = None
    caches: list[str] | None = None
    cpu: float | None = None
    memory: str | None = None
    gpu: float | None = None
    image: str | None = None
    network: Literal["all", "none"] | None = None


NAMES = tuple(field.encode_name for field in msgspec.structs.fields(_Keys))


class Project:
    """What the file of one repository sets."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)
        self._taken: dict[str, Any] = {}

    @property
    def agent(self) -> str | None:
        """The agent that it chooses."""
        return self._values.get("agent")

    def without_commands(self, top: Path) -> Project:
        """Return the project of an untrusted repository at ``top`` without its commands, and say so."""
        if commands := [name for name in ("setup", "check") if name in self._values]:
            talk(
                f"ado: not run, because the repository's {NAME} names it: {' and '.join(commands)}; if you trust it: "
                f"git config --global --add ado.trustedRepository {top}"
            )
        return self.without(_COMMANDS)

    def without(self, names: frozenset[str]) -> Project:
        """Return the project without some keys."""
        return Project({name: value for name, value in self._values.items() if name not in names})

    def untrusted(self, top: Path | None) -> Project:
        """Return the project without what it may not say of an untrusted repository at ``top``, and report that."""
        values, trust = dict(self._values), f"git config --global --add ado.trustedRepository {top}"
        bring: list[str] = values.get("bring", [])
        if secrets := [path for path in bring if looks_secret(path)]:
            values["bring"] = [path for path in bring if path not in secrets]
            talk(
                f"ado: not brought, because the repository's {NAME} names it: {listed(secrets)}; name it yourself with "
                f"--bring, or if you trust the repository: {trust}"
            )
        if values.get("approve") == "all":
            del values["approve"]
            talk(
                f"ado: not allowed, because the repository's {NAME} says it: approve 'all'; say it yourself with "
                f"--approve all, or if you trust the repository: {trust}"
            )
        return Project(values)

    def fill(self, options: Options) -> Options:
        """Return options with what the file says for those not given; labels are joined."""
        taken: dict[str, Any] = {}
        for field in fields(options):  # type: ignore[arg-type]
            name, given = field.name, getattr(options, field.name)
            if name == "label" and "labels" in self._values:
                labels = self._values["labels"]
                taken[name] = [*(f"{key}={value}" for key, value in labels.items()), *(given or [])]
                self._taken["labels"] = labels
            elif name in self._values and given is None:
                self._taken[name] = self._values[name]
                taken[name] = [self._values[name]] if name == "agent" else self._values[name]
        return replace(options, **taken)  # type: ignore[type-var]

    def show(self) -> None:
        """Say what was taken from the file."""
        if self._taken:
            taken = (f"{name.replace('_', '-')} {value!r}" for name, value in self._taken.items())
            talk(f"ado: {NAME}: {', '.join(taken)}")


def read_project(top: Path) -> Project | None:
    """Return what the file of the repository at ``top`` sets; None if there is none. Raises CliError."""
    text = _read(top / NAME)
    return None if text is None else Project(_parse(text))


def project_of(repository: Repository) -> Project | None:
    """Return what a repository's file sets; None if there is none. Raises CliError.

    What looks like a secret is brought only if the user trusts the repository: its commands could send it anywhere. Nor
    does a repository that is not trusted let an agent do everything.
    """
    project = read_project(repository.work_tree) if repository.work_tree else None
    return project if project is None or repository.is_trusted else project.untrusted(repository.work_tree)


def local_project() -> Project | None:
    """Return what the repository of the working directory sets for a run on this machine. Raises CliError."""
    directory = Path.cwd()
    if not any(os.path.lexists(above / NAME) for above in (directory, *directory.parents)):
        return None  # most directories: git need not be there
    try:
        repository = Repository.of_working_directory()
    except CliError as error:
        raise usage(f"{NAME} is not used: {error}", "use --no-project-file") from error
    if repository is None or repository.work_tree is None or (project := project_of(repository)) is None:
        return None
    project = project.without(_OF_WORKERS)
    return project if repository.is_trusted else project.without_commands(repository.work_tree)


def _parse(text: str) -> dict[str, Any]:
    import tomllib  # most repositories have no such file

    try:
        table: dict[str, Any] = tomllib.loads(text)
        for key in table:
            if key not in NAMES:
                raise usage(f"{NAME}: there is no key {key!r}{nearest(key, list(NAMES))}", "see ado help project-file")
        keys = msgspec.convert(table, _Keys)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise usage(f"{NAME}: {error}", "correct the file, or use --no-project-file") from error
    if keys.agent in PROGRAMS:
        step = f"choose it yourself: --agent {keys.agent}"
        raise usage(f"{NAME}: {keys.agent} cannot be a project's agent, because it would run each prompt", step)
    values = {name: value for name, value in msgspec.structs.asdict(keys).items() if value is not None}
    if isinstance(keys.check, str):
        values["check"] = [keys.check]
    return values


def _read(path: Path) -> str | None:
    """Return the text of a small regular file; None if there is none. A link could lead out of the repository."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise usage(f"{NAME} is not a file", "replace it by a file")
            data = file.read(_BYTES + 1)
            if len(data) > _BYTES:
                raise usage(f"{NAME} has more than {_BYTES} bytes", "make it smaller")
            return data.decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise usage(f"{NAME} cannot be read: {error}", "make it a file of UTF-8 text, and no link") from error
