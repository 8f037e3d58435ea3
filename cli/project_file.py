"""``.ado.toml`` at a repository's top: defaults for the setup and checks of tasks that the repository is sent with.

The repository may be hostile. The file is data: nothing of it runs on this machine, and what it asks for is shown.
"""

from __future__ import annotations

import os
import stat
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec

from cli.errors import usage
from cli.output import talk
from cli.parsing import nearest
from cli.run_options import CheckOptions

NAME = ".ado.toml"
_BYTES = 64 * 1024


class _Project(msgspec.Struct, rename="kebab"):
    setup: str | None = None
    check: str | list[str] = []
    check_tries: int | None = None
    check_timeout: str | None = None


_KEYS = [field.encode_name for field in msgspec.structs.fields(_Project)]


def with_defaults(options: CheckOptions, top: Path) -> CheckOptions:
    """Return the options, with what the file of the repository at ``top`` says for those not given; show that.

    Raises CliError.
    """
    text = _read(top / NAME)
    if text is None:
        return options
    project = _parse(text)
    check = [project.check] if isinstance(project.check, str) else project.check
    values = {**msgspec.structs.asdict(project), "check": check or None}
    taken = {
        field.name: value
        for field in fields(options)
        if getattr(options, field.name) is None and (value := values[field.name]) is not None
    }
    if taken:
        talk(f"ado: {NAME}: " + ", ".join(f"{name.replace('_', '-')} {value!r}" for name, value in taken.items()))
    return replace(options, **taken)


def _parse(text: str) -> _Project:
    try:
        table: dict[str, Any] = tomllib.loads(text)
        for key in table:
            if key not in _KEYS:
                raise usage(f"{NAME}: there is no key {key!r}{nearest(key, _KEYS)}", f"it may have {', '.join(_KEYS)}")
        return msgspec.convert(table, _Project)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise usage(f"{NAME}: {error}", "correct the file, or use --no-repo") from error


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
