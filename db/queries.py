"""Named statements, read once from ``sql/queries``.

A statement begins with ``-- name: NAME :ROWS`` where ROWS says how many rows it gives (``none``, ``optional``,
``one``, ``many``). With ``hints`` after it, every row has a column of that name: an array of the hints to
send once the statement is durable, or null. Parameters are named, ``:task_id::bigint``; each driver gets its own form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, cast

Rows = Literal["none", "optional", "one", "many"]

_HEADER = re.compile(r"^-- name: (\w+) :(\w+)( hints)?\s*$", re.MULTILINE)
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Query:
    """One statement in the forms of both drivers; ``parameters`` in the order of asyncpg's numbers."""

    name: str
    rows: Rows
    parameters: tuple[str, ...]
    numbered: str
    named: str
    hints: bool

    def arguments(self, values: Mapping[str, Any]) -> Sequence[Any]:
        """Order ``values`` as the numbered form wants them; a missing or surplus one raises TypeError."""
        if values.keys() != set(self.parameters):
            wrong = sorted(values.keys() ^ set(self.parameters))
            raise TypeError(f"statement {self.name}: missing or surplus parameters {', '.join(wrong)}")
        return [values[name] for name in self.parameters]


def parse(text: str) -> dict[str, Query]:
    """Split a file into its statements; a duplicate name or an unknown row word raises ValueError."""
    parts = _HEADER.split(text)
    statements: dict[str, Query] = {}
    for name, rows, hints, body in zip(parts[1::4], parts[2::4], parts[3::4], parts[4::4], strict=True):
        if name in statements or rows not in ("none", "optional", "one", "many"):
            raise ValueError(f"statement {name}: duplicate name, or unknown row word {rows!r}")
        statements[name] = _query(
            name, cast(Rows, rows), _COMMENT.sub("", body).strip().rstrip(";"), hints=hints is not None
        )
    return statements


def _query(name: str, rows: Rows, body: str, *, hints: bool) -> Query:
    parameters = tuple(dict.fromkeys(_PARAMETER.findall(body)))
    number = {parameter: index for index, parameter in enumerate(parameters, 1)}
    return Query(
        name=name,
        rows=rows,
        parameters=parameters,
        numbered=_PARAMETER.sub(lambda match: f"${number[match[1]]}", body),
        named=_PARAMETER.sub(lambda match: f"%({match[1]})s", body.replace("%", "%%")),
        hints=hints,
    )


@cache
def load() -> Mapping[str, Query]:
    """Read every statement; names are unique over all files."""
    statements: dict[str, Query] = {}
    for file in sorted(files("sql").joinpath("queries").iterdir(), key=lambda item: item.name):
        if not file.name.endswith(".sql"):
            continue
        for name, query in parse(file.read_text("utf-8")).items():
            if name in statements:
                raise ValueError(f"statement {name} stands in two files")
            statements[name] = query
    return statements
