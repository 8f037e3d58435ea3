"""Write the tables of ``CONFIGURATION.md`` and the text of ``ado help settings`` from the settings of each process.

    .venv/bin/python deploy/configuration.py

The text between the tables is written by hand. A table starts below a line ``<!-- settings: CLASS -->``.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from dataclasses import MISSING, fields
from pathlib import Path

from app.settings import AppSettings
from app.spawner.backends.settings import KubernetesSettings
from app.spawner.settings import SpawnerSettings
from worker.settings import WorkerSettings

PAGE = Path(__file__).with_name("CONFIGURATION.md")
TOPIC = PAGE.parents[1] / "cli" / "topics" / "settings.txt"
SETTINGS = {kind.__name__: kind for kind in (AppSettings, SpawnerSettings, KubernetesSettings, WorkerSettings)}
_PROCESSES = (
    "replica (ado api)",
    "spawner (ado spawner)",
    "spawner of pods (ado spawner kubernetes)",
    "worker (ado worker)",
)
_HEAD = "| variable | default | meaning |\n|---|---|---|\n"
_TABLE = re.compile(r"(<!-- settings: (\w+) -->\n\n)(?:\|.*\n)*")
_COMPUTED = {
    "capabilities": "what is there",
    "cpu": "the machine's",
    "memory": "the machine's",
    "work_dir": "a directory in TMPDIR",
    "worker_id": "host, pid, random",
}
"""Defaults that a process finds out when it starts."""


def meanings(kind: type) -> dict[str, str]:
    """Return what the source says below each field of a dataclass, on one line."""
    (node,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(node, ast.ClassDef)
    pairs = zip(node.body, node.body[1:], strict=False)
    return {
        field.target.id: " ".join(ast.literal_eval(text.value).replace("``", "`").split())
        for field, text in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr)
    }


def table(kind: type) -> str:
    """Return the table of one class of settings."""
    texts = meanings(kind)
    rows = [
        f"| `ADO_{field.name.upper()}` | {_default(field.name, field.default)} | {texts[field.name]} |\n"
        for field in fields(kind)
    ]
    return _HEAD + "".join(rows)


def _default(name: str, value: object) -> str:
    if name in _COMPUTED and (value is MISSING or not value):
        return _COMPUTED[name]
    if value is MISSING or value in ("", ()):
        return "none"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def page(text: str) -> str:
    """Return the text of the page with its tables made anew."""
    return _TABLE.sub(lambda match: match[1] + table(SETTINGS[match[2]]), text)


def topic() -> str:
    """Return the text of ``ado help settings``: each variable, its default and its meaning in lines of 80 columns."""
    lines = ["Settings of replicas, spawners and workers, with their defaults"]
    for kind, process in zip(SETTINGS.values(), _PROCESSES, strict=True):
        lines += ["", f"Settings of a {process}", ""]
        texts = meanings(kind)
        for field in fields(kind):
            lines.append(f"  ADO_{field.name.upper()} ({_default(field.name, field.default)})")
            meaning = texts[field.name].replace("`", "")
            lines += textwrap.wrap(meaning, 80, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
    TOPIC.write_text(topic(), "utf-8")
