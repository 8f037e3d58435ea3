"""Settings from ``ADO_*`` variables: one frozen dataclass for each kind of process, read and checked at its start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

S = TypeVar("S")
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class SettingsError(ValueError):
    """A setting is missing or invalid; the message names the variable and the values it takes."""


def read(kind: type[S], environ: Mapping[str, str] = os.environ, **overrides: Any) -> S:
    """Return settings from ``ADO_*`` variables; an override that is not None wins. Raises SettingsError."""
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for item in fields(kind):  # type: ignore[arg-type]
        variable = f"ADO_{item.name.upper()}"
        if overrides.get(item.name) is not None:
            values[item.name] = overrides[item.name]
        elif text := environ.get(variable):
            values[item.name] = _convert(variable, text, hints[item.name])
    return kind(**values)


def _convert(variable: str, text: str, kind: Any) -> Any:
    if kind == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise SettingsError(f"{variable} must be true or false, not {text!r}")
        return _BOOLEANS[text.lower()]
    try:
        return kind(text)
    except ValueError as error:
        raise SettingsError(f"{variable} must be a {kind.__name__}, not {text!r}") from error
