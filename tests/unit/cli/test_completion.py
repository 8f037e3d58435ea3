"""What may come next on a command line."""

import shutil
import subprocess

import pytest

from cli.app import build
from cli.commands.completion import _SCRIPTS, candidates


def complete(*words):
    return candidates(build(), list(words), lambda kind: [f"{kind}-1", f"{kind}-22"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["wor"], ["worker", "workers"]),
        (["tasks", ""], ["list", "rm", "show", "update"]),
        (["tasks", "show", ""], ["task-1", "task-22"]),
        (["attach", "task-2"], ["task-22"]),
        (["wait", "task-1", "task-"], ["task-1", "task-22"]),
        (["workers", "drain", ""], ["worker-1", "worker-22"]),
        (["attach", "--fr"], ["--from"]),
        (["run", "-o", ""], ["text", "json", "jsonl", "name"]),
        (["run", "--output", "json"], ["json", "jsonl"]),
        (["run", ""], []),
        (["nonsense", ""], None),
    ],
)
def test_candidates_are_commands_options_choices_and_live_ids(words, expected):
    found = complete(*words)
    assert found == (expected if expected is not None else complete(""))


def test_what_is_hidden_is_not_offered():
    assert "complete" not in complete("")
    assert "--fd" not in complete("api", "--")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_one_its_shell_can_read(shell):
    program = shutil.which(shell)
    if program is None:
        assert "ado complete --" in _SCRIPTS[shell]
        return
    subprocess.run([program, "-n"], input=_SCRIPTS[shell], text=True, check=True, timeout=20)
