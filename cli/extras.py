"""Optional parts of ado: whether one is installed, and the command that installs it."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec

from cli import exits, invocation
from cli.errors import CliError

_MODULES = {
    "worker": ("acp", "uvloop"),
    "server": ("asyncpg", "litestar", "psycopg", "uvicorn", "uvloop"),
    "kubernetes": ("kubernetes", "yaml", "psycopg"),
}
"""Modules of each part. Images contain only the parts that they use."""


def has(extra: str) -> bool:
    """Whether a part is installed."""
    return all(find_spec(name) is not None for name in _MODULES[extra])


def need(extra: str) -> None:
    """Let ``./ado`` install a missing part, or raise CliError with the command that installs it."""
    if has(extra):
        return
    invocation.restart(extra)
    what = f"this needs the {extra} part of ado, which is not installed here"
    raise CliError(what, f"install it: {_command(extra)}", exits.INFRASTRUCTURE, "missing_extra")


def _command(extra: str) -> str:
    """Return the command that installs a part in the same way as ado."""
    package = shlex.quote(f"ado[{extra}]{_source()}")
    if "/pipx/" in sys.prefix:
        return f"pipx install --force {package}"
    if "/uv/tools/" in sys.prefix:
        return f"uv tool install --force {package}"
    python = shlex.quote(sys.executable)
    if find_spec("pip") is None:
        return f"uv pip install --python {python} {package}"
    return f"{python} -m pip install {package}"


def _source() -> str:
    """Return the origin of the installation as a requirement writes it (PEP 610); empty for a package index."""
    import json
    from importlib import metadata

    try:
        origin = json.loads(metadata.distribution("ado").read_text("direct_url.json") or "{}")
        prefix = f"{origin['vcs_info']['vcs']}+" if "vcs_info" in origin else ""
        return f" @ {prefix}{origin['url']}"
    except (metadata.PackageNotFoundError, ValueError, KeyError, TypeError):
        return ""
