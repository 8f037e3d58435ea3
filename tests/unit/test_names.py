"""A name means one thing: no two classes of the source share theirs."""

import ast
from collections import defaultdict

from support.source import ROOT, definitions

ONE_ANSWER = (
    "app/shapes/",
    "app/procedures/",
    "app/client/administration.py",
    "app/client/models.py",
    "app/client/agent_events.py",
    "app/client/fleet.py",
    "app/client/events.py",
    "app/client/records.py",
    "cli/remote/wire_shapes.py",
)
"""The published types, the client's records of them and the command line's checks of them agree in their names."""


def classes():
    """Yield the path and name of every class."""
    for folder in ("app", "cli", "db", "worker"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            yield from ((name, node.name) for node in definitions(name) if isinstance(node, ast.ClassDef))


def test_no_two_classes_have_the_same_name():
    places = defaultdict(list)
    for path, name in classes():
        places[name].append(path)
    shared = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert {
        name: paths for name, paths in shared.items() if not all(path.startswith(ONE_ANSWER) for path in paths)
    } == {}
