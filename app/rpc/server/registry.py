"""The table of procedures by dotted path."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

from app.rpc.errors import ProcedureError
from app.rpc.server.procedure import Procedure

_PATH = re.compile(r"[a-z][A-Za-z0-9]*(\.[a-z][A-Za-z0-9]*)*")
_UNNAMEABLE = frozenset({"then", "call", "apply"})  # tRPC clients treat these names as their own


class Registry:
    """Path → procedure. Raises ValueError for an illegal path, TypeError for a function that is no procedure."""

    def __init__(self, table: Mapping[str, Callable[..., Any]]) -> None:
        self.procedures: dict[str, Procedure] = {}
        for path, function in table.items():
            if not _PATH.fullmatch(path) or _UNNAMEABLE & set(path.split(".")):
                raise ValueError(f"{path!r} cannot be the path of a procedure")
            procedure = getattr(function, "procedure", None)
            if not isinstance(procedure, Procedure):
                raise TypeError(f"{path} is not a procedure")
            self.procedures[path] = procedure

    def find(self, path: str) -> Procedure:
        """Return the procedure. Raises NOT_FOUND, with the nearest path as the hint."""
        procedure = self.procedures.get(path)
        if procedure is None:
            raise self.unknown(path, f'No procedure found on path "{path[:200]}"')
        return procedure

    def unknown(self, path: str, message: str) -> ProcedureError:
        """Return the error for a path without a procedure, or with one of another kind."""
        if path in self.procedures:
            hint = f"{path} is a {self.procedures[path].kind}"
            return ProcedureError("NOT_FOUND", message, reason="no_such_procedure", hint=hint)
        near = difflib.get_close_matches(path[:100], self.procedures, 1)
        hint = f"did you mean {near[0]}?" if near else "see GET /trpc/ado.d.ts for what there is"
        return ProcedureError("NOT_FOUND", message, reason="no_such_procedure", hint=hint)
