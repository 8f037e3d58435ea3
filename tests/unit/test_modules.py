"""The sizes that CONTRIBUTING sets for modules and functions."""

import ast

from support.source import ROOT, definitions

PACKAGES = ("app", "cli", "db", "sql", "tests", "worker")
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 50


def test_no_module_has_more_lines_than_contributing_says():
    sizes = {path: len(path.read_bytes().splitlines()) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert len(sizes) > 100
    assert {str(path): size for path, size in sizes.items() if size >= MOST_LINES} == {}


def test_no_function_has_more_lines_than_contributing_says():
    functions = [
        (f"{path}: {node.name}", node.end_lineno - node.lineno + 1)
        for name in PACKAGES
        for path in (file.relative_to(ROOT).as_posix() for file in (ROOT / name).rglob("*.py"))
        for node in definitions(path)
        if not isinstance(node, ast.ClassDef)
    ]
    assert len(functions) > 1000
    assert [function for function in functions if function[1] > MOST_LINES_OF_A_FUNCTION] == []
