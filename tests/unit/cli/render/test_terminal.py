"""What counts as a terminal, and when ado uses colours on it."""

import io

import pytest

from cli.render import terminal


class Screen(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self):
        return True


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return monkeypatch


def test_a_terminal_gets_colours_and_a_file_gets_none(environment):
    assert terminal.colours(Screen())
    assert not terminal.colours(io.StringIO())
    assert (terminal.is_terminal(Screen()), terminal.is_terminal(io.StringIO())) == (True, False)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_without_colours_gets_none(environment, name, value):
    environment.setenv(name, value)
    assert not terminal.colours(Screen())


def test_a_program_is_asked_for_colours_only_if_they_are_shown(environment):
    environment.setattr("sys.stdout", Screen())
    assert terminal.colour_variables() == {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}
    environment.setattr("sys.stdout", io.StringIO())
    assert terminal.colour_variables() == {}


@pytest.mark.parametrize(("out", "err", "expected"), [(Screen, io.StringIO, {1}), (io.StringIO, Screen, {2})])
def test_each_stream_is_checked_separately(environment, out, err, expected):
    environment.setattr("sys.stdout", out())
    environment.setattr("sys.stderr", err())
    assert terminal.terminals() == expected


def test_six_jobs_have_six_colours_and_the_seventh_begins_again():
    prefixes = [terminal.prefix(job, coloured=True) for job in range(7)]
    colours = [prefix.partition(b"m")[0] for prefix in prefixes]
    assert len(set(colours[:6])) == 6
    assert colours[6] == colours[0]
    assert prefixes[0].endswith(b"m[0]\x1b[0m ")
    assert terminal.prefix(3, coloured=False) == b"[3] "


def test_ados_own_words_are_dim_only_where_colours_are_used():
    assert terminal.dim("x", coloured=True) == "\x1b[2mx\x1b[0m"
    assert terminal.dim("x", coloured=False) == "x"
