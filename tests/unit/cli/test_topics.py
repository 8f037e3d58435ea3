"""The topics of ``ado help`` are complete."""

import re
from importlib import resources

import pytest

from cli.commands.topics import TOPICS, topic
from cli.errors import CliError
from worker.agents import AGENTS


def text(name, capsys):
    assert topic(name) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", TOPICS)
def test_a_topic_fits_a_terminal(name, capsys):
    lines = text(name, capsys).splitlines()
    assert lines
    assert max(map(len, lines)) <= 80


def test_without_a_name_the_topics_are_listed(capsys):
    assert all(name in text("", capsys) for name in TOPICS)


def test_a_mistyped_topic_is_answered_with_the_nearest():
    with pytest.raises(CliError, match="did you mean exit-codes") as caught:
        topic("exitcodes")
    assert all(name in caught.value.next_step for name in TOPICS)


def test_every_agent_is_explained(capsys):
    assert set(re.findall(r"^  ([a-z-]+)  ", text("agents", capsys), re.MULTILINE)) == set(AGENTS)


def test_every_variable_of_a_job_is_explained(capsys):
    """Whatever the worker sets by name, and the events pipe's."""
    source = (
        resources.files("worker").joinpath("processes", "directories.py").read_text()
        + resources.files("worker").joinpath("processes", "process.py").read_text()
    )
    names = set(re.findall(r"\b(ADO_[A-Z_]+)(?==|\":)", source))
    assert {"ADO_TASK_ID", "ADO_EVENTS"} <= names
    explained = text("environment", capsys)
    assert {name for name in names if name not in explained} == set()
    for line in re.findall(r'"([A-Z_]+)": "([a-z0-9]+)",', source):
        assert "=".join(line) in explained
