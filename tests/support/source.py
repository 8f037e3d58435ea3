"""What the files of the checkout define."""

import ast
from importlib import resources
from pathlib import Path

ROOT = Path(str(resources.files("sql"))).parent
_HOLDS_STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)


def definitions(path):
    """Yield every class and function of a file, however deep. Expressions hold none, so they are left out."""
    waiting = [ast.parse((ROOT / path).read_text())]
    while waiting:
        inner = [node for node in ast.iter_child_nodes(waiting.pop()) if isinstance(node, _HOLDS_STATEMENTS)]
        yield from (node for node in inner if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef))
        waiting += inner
