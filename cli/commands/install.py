"""``ado install``: a link to this checkout's ``./ado`` in ``~/.local/bin``, so that ``ado`` works everywhere."""

from __future__ import annotations

import os
from pathlib import Path

from cli import exits, invocation
from cli.errors import CliError, usage
from cli.output import talk, write_one
from cli.parameters import OutputOption


def install(*, remove: bool = False, output: OutputOption = "text") -> None:
    """Link ./ado into ~/.local/bin, so that ado works in every directory.

    Parameters
    ----------
    remove
        Remove that link again.
    """
    script = invocation.script()
    if script is None:
        raise usage(
            "only a checkout's ./ado can be linked", "this ado is installed already; or run ./ado install there"
        )
    home = os.environ.get("HOME")
    if not home:
        raise usage("HOME is not set", "set HOME, or link it yourself: ln -s " + str(script))
    link = Path(home, ".local", "bin", "ado")
    try:
        note = _remove(link, script) if remove else _link(link, script)
    except OSError as error:
        step = f"check the rights of {link.parent}, or link {script} yourself"
        raise CliError(f"{link} cannot be changed: {error.strerror}", step, exits.INFRASTRUCTURE, "system") from error
    write_one({"name": str(link), "target": str(script), "removed": remove}, output, "name", note=note)
    if not remove and str(link.parent) not in os.environ.get("PATH", "").split(os.pathsep):
        talk(f"ado: {link.parent} is not on PATH; add this line to ~/.profile (or to what your shell reads):")
        talk('ado: export PATH="$HOME/.local/bin:$PATH"')


def _link(link: Path, script: Path) -> str:
    if not os.path.lexists(link):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(script)
        return f"{link} is a link to {script} now"
    _check(link, script)
    return f"{link} is a link to {script} already"


def _remove(link: Path, script: Path) -> str:
    if not os.path.lexists(link):
        return f"there is no {link}"
    _check(link, script)
    link.unlink()
    return f"{link} is removed"


def _check(link: Path, script: Path) -> None:
    """Raise CliError for what is not the link that this command makes."""
    if not link.is_symlink() or link.readlink() != script:
        what = f"{link} is something else: it is not a link to {script}"
        raise usage(what, f"look at it (ls -l {link}), and move it away if you do not need it")
