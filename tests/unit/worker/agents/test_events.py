"""The normalised events: their numbers."""

import time

import pytest

from worker.agents.events import line_counts


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", (0, 0)),
        ("", "a\nb\n", (2, 0)),
        ("a\nb\n", "", (0, 2)),
        ("a\nb\nc\n", "a\nx\nc\nc\n", (2, 1)),
        ("a\nb\n", "b\na\n", (0, 0)),
    ],
)
def test_lines_of_an_edit_are_counted(old, new, expected):
    assert line_counts(old, new) == expected


def test_a_large_edit_is_counted_in_linear_time():
    """100,000 lines, each a little different, as they would take an hour to compare one with another."""
    old = "".join(f"line {number} of the old text\n" for number in range(100_000))
    began = time.process_time()
    assert line_counts(old, old.replace("old", "new")) == (100_000, 100_000)
    assert time.process_time() - began < 2
