"""Templates as the command line names, fills and changes them."""

import pytest

from cli.errors import CliError
from cli.remote.saved_templates import filled, merged, template_named


class Server:
    def __init__(self, task):
        self.task = task

    def query(self, path, value):
        assert (path, value) == ("templates.get", {"name": "fix"})
        return {"task": self.task}


@pytest.mark.parametrize("words", [["@a b"], ["@"], ["@A"], ["@a", "b"], ["a@b"], [], ["@../x"], ["@README.md"]])
def test_other_words_than_a_single_name_are_a_prompt(words):
    assert template_named(words) is None


def test_a_single_name_is_a_template():
    assert template_named(["@fix-2.x"]) == "fix-2.x"


def test_a_template_is_filled_and_its_agent_named():
    assert filled(Server({"prompt": "{a}"}), "fix", {"a": "1"}) == {"agent": "shell", "prompt": "1"}
    with pytest.raises(CliError) as caught:
        filled(Server({"prompt": "{a}", "agent": "codex"}), "fix", {})
    assert (str(caught.value), caught.value.next_step) == (
        "@fix: no value for the variable a", "give it a value: --var a=VALUE",
    )  # fmt: skip


def test_the_command_line_changes_only_what_it_says():
    saved = {
        "prompt": "x", "agent": "codex", "agents": ["codex", "opencode"], "workers": 2, "labels": {"a": "1", "b": "2"},
        "requires": ["gpu"], "retries": 3, "onFailure": "fail_fast", "checks": {"commands": ["true"]},
        "workspace": {"remote": {}}, "agentArgs": {"model": "m"}, "timeoutSeconds": 9,
    }  # fmt: skip
    silent = {
        "prompt": "x", "agent": "codex", "workers": 1, "labels": {}, "requires": [], "retries": 0, "priority": 0,
        "onFailure": "continue", "workspace": {}, "agentArgs": None, "timeoutSeconds": None, "env": {}, "resources": {},
        "idempotencyKey": "k",
    }  # fmt: skip
    without_agents = {name: value for name, value in saved.items() if name != "agents"}
    assert merged(saved, silent) == {**without_agents, "idempotencyKey": "k"}
    given = {**silent, "agents": ["a", "b"], "workers": 3, "labels": {"b": "3"}, "requires": ["gpu", "x"], "retries": 1}
    assert merged(saved, given) == {
        **saved, "agents": ["a", "b"], "workers": 3, "labels": {"a": "1", "b": "3"}, "requires": ["gpu", "x"],
        "retries": 1, "idempotencyKey": "k",
    }  # fmt: skip
