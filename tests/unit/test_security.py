"""The table in SECURITY.md is true: every actor has rows, and every test that it names exists."""

import ast
import re
from functools import cache

import pytest
from support.source import ROOT, definitions

PAGE = (ROOT / "SECURITY.md").read_text()
ACTORS = (
    "stranger",
    "viewer",
    "operator",
    "worker",
    "job",
    "agent",
    "repository",
    "server",
    "local user",
    "browser",
    "SQL login",
)


def rows(columns):
    """Return the rows of the table that has these columns."""
    lines = PAGE.partition(f"| {columns} |\n")[2].splitlines()[1:]
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


ATTACKS = list(rows("actor | can try | what protects | test"))
PLACES = dict(rows("actor | tests"))


@cache
def names_in(file):
    """Return the names of a file's test functions, also those inside of classes."""
    return {
        node.name for node in definitions(file) if not isinstance(node, ast.ClassDef) and node.name.startswith("test_")
    }


def test_every_row_names_an_actor_an_attack_a_protection_and_a_test():
    for row in ATTACKS:
        assert len(row) == 4, row
        assert row[0] in ACTORS, row
        assert all(row), row
        assert re.findall(r"`(tests/[^`]+)::(test_\w+)`", row[3]), row


@pytest.mark.parametrize("row", ATTACKS, ids=lambda row: f"{row[0]}: {row[1]}"[:60])
def test_every_test_that_a_row_names_exists(row):
    for reference in re.findall(r"`([^`]+)`", row[3]):
        file, _, name = reference.partition("::")
        assert (ROOT / file).is_file(), f"{file} does not exist"
        assert name in names_in(file), f"{file} has no test {name}"


@pytest.mark.parametrize("actor", ACTORS)
def test_every_actor_has_a_row_and_a_place_for_its_tests(actor):
    assert any(row[0] == actor for row in ATTACKS)
    own = ROOT / "tests" / "hostile" / f"test_{actor.lower().replace(' ', '_')}.py"
    places = [ROOT / place for place in re.findall(r"`([^`]+)`", PLACES.get(actor, ""))]
    assert own.is_file() or places
    for place in places:
        assert place.is_file(), f"{place} does not exist"
