"""The size that CONTRIBUTING sets for modules."""

from importlib import resources
from pathlib import Path

ROOT = Path(str(resources.files("sql"))).parent
PACKAGES = ("app", "cli", "db", "sql", "worker")
MOST_LINES = 400


def test_no_module_has_more_lines_than_contributing_says():
    sizes = {path: len(path.read_bytes().splitlines()) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert len(sizes) > 100
    assert {str(path): size for path, size in sizes.items() if size >= MOST_LINES} == {}
