"""Text and tables fit the terminal, and lose nothing but the end of an excerpt."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import width

from cli.render.ages import when
from cli.render.layout import table, wrap

HINT = "ado: no live worker offers codex; 3 offer something else; ado doctor --agents, where the workers run, says why"


def test_a_hint_is_wrapped_at_words_without_loss():
    lines = wrap(HINT, 40)
    assert len(lines) > 1
    assert max(map(width, lines)) <= 40
    assert " ".join(line.strip() for line in lines) == HINT


def test_an_address_stays_in_one_piece():
    address = "https://example.org/" + "x" * 60
    assert address in wrap(f"look at {address} for more", 40)[1]


def test_lines_are_not_wrapped_without_a_terminal():
    assert wrap(HINT, None) == [HINT]
    assert table([["a", "b"], ["x" * 200, "y"]], None)[1] == "x" * 200 + "  y"


@pytest.mark.parametrize("text", ["漢字", "e\u0301", "\U0001f469\U0001f3fd", "\U0001f1e9\U0001f1ea"])
def test_columns_are_aligned_for_characters_of_any_width(text):
    rows = table([["name", "state"], [text, "idle"], ["plain", "busy"]], 80)
    assert (
        len({width(line[: line.index(word)]) for line, word in zip(rows, ["state", "idle", "busy"], strict=True)}) == 1
    )


def test_a_table_that_is_too_wide_breaks_its_longest_texts_and_keeps_names_whole():
    rows = [["worker", "state", "what would help"], ["worker-with-a-name", "idle", HINT]]
    lines = table(rows, 80)
    assert max(map(width, lines)) <= 80
    assert lines[1].startswith("worker-with-a-name  idle   ado: no live worker")
    assert " ".join(line[26:].strip() for line in lines[1:]) == HINT


def test_a_prompt_is_cut_so_that_each_task_is_one_line():
    rows = [["task", "status", "prompt"], ["task-1", "running", "fix " * 30]]
    assert table(rows, 40)[1:] == ["task-1  running  fix fix fix fix fix fi…"]


def test_a_table_that_does_not_fit_is_printed_row_by_row():
    rows = [["worker", "state", "sandbox"], ["worker-with-a-name", "idle", "bubblewrap"]]
    assert table(rows, 30) == ["worker: worker-with-a-name", "  state: idle  sandbox:", "  bubblewrap"]


def test_empty_columns_are_dropped_and_an_age_is_not_broken():
    rows = [["token", "user", "worker", "used"], ["tok-1", "-", "worker-with-a-name", "13 min ago"]]
    assert table(rows, 40) == ["token  worker              used", "tok-1  worker-with-a-name  13 min ago"]


CELLS = st.text(alphabet="ab 漢\u0301-", max_size=15)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=4), st.integers(40, 90))
def test_a_table_fits_its_width_without_losing_a_letter(rows, columns):
    lines = table([["one", "two", "three"], *rows], columns)
    assert max(map(width, lines)) <= columns
    assert sum(line.count("漢") for line in lines) == sum(cell.count("漢") for row in rows for cell in row)


@pytest.mark.parametrize(
    ("time", "said"),
    [
        (None, "-"),
        ("2026-01-01T11:57:00+00:00", "3 min ago"),
        ("2026-01-01T12:00:00+00:00", "0 s ago"),
        ("2026-01-01T14:30:00+00:00", "in 2 h"),
        ("2026-01-31T12:00:00+00:00", "in 30 d"),
    ],
)
def test_times_are_shown_relative_to_now(time, said):
    assert when(time, datetime(2026, 1, 1, 12, tzinfo=UTC)) == said
