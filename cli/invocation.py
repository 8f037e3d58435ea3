"""How this process was started: the words that were typed, and whether ``./ado`` started it.

The script and the console script pass this in variables. They are removed from the environment at once, because nobody
typed what ado itself starts later.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

COMMANDS = (
    "answer", "api", "apply", "approve", "ask", "attach", "audit", "cancel", "checkout", "compare", "complete",
    "completion", "context", "db", "deny", "diff", "doctor", "down", "download", "explain", "help", "inbox",
    "install", "kv", "login", "logs", "mask", "notify", "open", "pause", "pick", "pr", "refs", "resume", "retry", "run",
    "schedule", "send", "spawner", "status", "support-bundle", "tasks", "template", "token", "up", "users", "wait",
    "whoami", "worker", "workers",
)  # fmt: skip
_MENTIONED = re.compile(rf"(?<![\w./-])ado(?= (?:--help|--version|{'|'.join(COMMANDS)})\b)")
_typed = "ado"
_script: Path | None = None
_installed = ""


def take() -> None:
    """Read the variables of the starter and remove them from the environment."""
    global _typed, _script, _installed
    script = os.environ.pop("_ADO_SCRIPT", "")
    _script = Path(script) if script else None
    _installed = os.environ.pop("_ADO_INSTALLED", "")
    _typed = _words(os.environ.pop("_ADO_COMMAND", "") or sys.argv[0])


def _words(path: str) -> str:
    """Return the words that start the same program again."""
    if Path(path).name == "__main__.py":
        return f"{Path(sys.executable).name} -m cli"
    installed = shutil.which("ado")
    if Path(path).name == "ado" and installed is not None and Path(installed).absolute() == Path(path).absolute():
        return "ado"
    return shlex.quote(path)


def script() -> Path | None:
    """Return the script ``./ado`` that started this process, or None."""
    return _script


def restart(extra: str) -> None:
    """Let the script install a part of ado and start this command again; return if there is no script."""
    if _script is None or _installed == extra:
        return
    environment = {**os.environ, "_ADO_NEEDS": extra, "_ADO_COMMAND": _typed}
    os.execve(_script, [str(_script), *sys.argv[1:]], environment)


def as_typed(text: str) -> str:
    """Return a text with its ado commands as this one was typed, for example ``./ado down``."""
    return text if _typed == "ado" else _MENTIONED.sub(lambda _: _typed, text)
