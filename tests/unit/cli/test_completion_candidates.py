"""What may come next on a command line."""

import os
import shutil
import subprocess

import pytest

from cli.app import build
from cli.commands.completion import _SCRIPTS
from cli.completion_candidates import as_typed, candidates

HOSTILE = (
    "$(touch executed)",
    "`touch executed`",
    "two words",
    "it's",
    'say "x"',
    "*",
    "~",
    ";touch executed",
    "a&b|c>d",
)


def live(kind, given):
    if kind == "label":
        return ["team=api", "team=web", "run=1", "my label=a b", "line\nfeed=x", "bell\a=x", "$(x)=`y`"]
    return [f"{kind}-1", f"{kind}-22"]


def complete(*words):
    return candidates(build(), list(words), live)


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
        (["run", "--agent", ""], ["agent-1", "agent-22"]),
        (["run", "--agent=agent-2"], ["--agent=agent-22"]),
        (["run", "--remote", "--agent", "agent-2"], ["agent-22"]),
        (["tasks", "--status", "status-1"], ["status-1"]),
        (["tasks", "list", "--status", "status-1,"], ["status-1,status-22"]),
        (["tasks", "--created-by", ""], ["user-1", "user-22"]),
        (["tasks", "--context", ""], ["context-1", "context-22"]),
        (["tasks", "--label", ""], ["team", "run", "my label", "$(x)"]),
        (["tasks", "--label", "team="], ["team=api", "team=web"]),
        (["tasks", "--label", "my\\ l"], ["my label"]),
        (["tasks", "--label", "'my la"], ["my label"]),
        (["context", "use", ""], ["context-1", "context-22"]),
        (["users", "set", "user-2"], ["user-22"]),
        (["users", "add", ""], []),
        (["help", ""], ["topic-1", "topic-22"]),
        (["attach", "--from", "5", "task-2"], ["task-22"]),
        (["attach", "--", "--"], []),
        (["tasks", "show", "--output", "json", ""], ["task-1", "task-22"]),
        (["run", "--timeout", ""], []),
    ],
)
def test_candidates_are_commands_options_choices_and_live_ids(words, expected):
    found = complete(*words)
    assert found == (expected if expected is not None else complete(""))


def test_a_server_is_asked_by_the_options_that_were_typed():
    asked = []
    words = ["tasks", "show", "--url=http://a", "--context", "prod", "--token-file", "f", ""]
    candidates(build(), words, lambda kind, given: asked.append((kind, given)) or [])
    assert asked == [("task", {"url": "http://a", "context": "prod", "token_file": "f"})]


@pytest.mark.parametrize(
    ("words", "joined", "expected"),
    [
        (["tasks", "--label", "team", "=", "w"], ["tasks", "--label", "team=w"], ["web"]),
        (["tasks", "--label", "team", "="], ["tasks", "--label", "team="], ["web"]),
        (["tasks", "--status", "=", "w"], ["tasks", "--status=w"], ["web"]),
        (["run", "--secret", "a", ":", "b", "c"], ["run", "--secret", "a:b", "c"], ["cweb"]),
        ([], [""], ["web"]),
    ],
)
def test_words_divided_by_bash_are_joined_and_candidates_are_divided(words, joined, expected):
    def find(found):
        assert found == joined
        word = found[-1]
        return [word[: word.rfind("=") + 1] + "web" if "=" in word else f"{word}web"]

    assert as_typed(words, find) == expected


def test_hidden_options_are_not_offered():
    assert "complete" not in complete("")
    assert "--fd" not in complete("api", "--")


@pytest.fixture
def names_anything(tmp_path):
    """A directory with an ``ado`` whose candidates are hostile."""
    lines = "\n".join(HOSTILE)
    (tmp_path / "lines").write_text(f"{lines}\n")
    (tmp_path / "ado").write_text(f"#!/bin/sh\ncat '{tmp_path}/lines'\n")
    (tmp_path / "ado").chmod(0o755)
    return tmp_path


_ACCEPTED = {
    "bash": """
COMP_WORDS=(ado tasks --label ""); COMP_CWORD=3; _ado ado; eval "printf '%s\\n' ${COMPREPLY[*]}"
""",
    "zsh": """
compadd() { shift; print -rl -- "$@" }; words=(ado tasks --label ""); CURRENT=4
_ado
""",
    "fish": """
for line in (complete -C "ado tasks --label ")
    eval "printf '%s\\n' "(string escape -- $line)
end
""",
}
"""What prints every candidate as a program gets it once a person has accepted it."""


@pytest.mark.parametrize("shell", [name for name in _ACCEPTED if shutil.which(name)])
def test_a_shell_takes_a_candidate_as_one_word_and_executes_nothing(shell, names_anything):
    script = _SCRIPTS[shell].replace("compdef _ado ado", "") + _ACCEPTED[shell]
    done = subprocess.run(
        [shell, "-c", script],
        cwd=names_anything,
        env={"PATH": f"{names_anything}:{os.environ['PATH']}", "HOME": str(names_anything)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (set(done.stdout.splitlines()), done.stderr) == (set(HOSTILE), "")
    assert not (names_anything / "executed").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_valid_in_its_shell(shell):
    program = shutil.which(shell)
    if program is None:
        assert "ado complete --" in _SCRIPTS[shell]
        return
    subprocess.run([program, "-n"], input=_SCRIPTS[shell], text=True, check=True, timeout=60)
