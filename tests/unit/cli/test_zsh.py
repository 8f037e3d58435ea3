"""A completion of zsh reaches the program as one word, for any characters."""

import contextlib
import os
import pty
import shutil
import signal
import threading

import pytest
from support.program import until

from cli.commands.completion import _SCRIPTS

NAMES = (
    "two words",
    "it's",
    'say "x"',
    "a:b c",
    "$(touch executed)",
    "`touch executed`",
    "a&b|c>d;e",
    "*[x]?",
    "~root",
    "=ls",
    "-x y",
    "{a,b}",
    "!!",
    "#x",
    "\\back slash",
    "größe 日本",
)
SETUP = """\
autoload -U compinit; compinit -D -u; source ./completion
taken() { printf '%s\\0' "$@" > taken.new; mv taken.new taken }
"""

pytestmark = pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed (.ci/run installs it)")


class Shell:
    """An interactive zsh with the completion script, and an ``ado`` that offers what a file holds."""

    def __init__(self, directory):
        self.directory = directory
        (directory / "completion").write_text(_SCRIPTS["zsh"])
        for place in (directory, directory / "bin"):
            place.mkdir(exist_ok=True)
            (place / "ado").write_text(f"#!/bin/sh\ncat '{directory}/offered'\n")
            (place / "ado").chmod(0o755)
        (directory / ".zshrc").write_text(SETUP)
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            path = f"{directory}/bin:{os.environ['PATH']}"
            env = {"PATH": path, "HOME": str(directory), "TERM": "dumb", "LANG": "C.UTF-8"}
            os.chdir(directory)
            os.execvpe("zsh", ["zsh", "-d", "-i"], env)
        self._reader = threading.Thread(target=self._drain)
        self._reader.start()

    def _drain(self):
        with contextlib.suppress(OSError):  # the terminal is closed
            while os.read(self._fd, 4096):
                pass

    def accept(self, typed, offered):
        """Type the beginning of a line, take what is offered, and return the words that the line then has."""
        (self.directory / "offered").write_text(f"{offered}\n")
        result = self.directory / "taken"
        result.unlink(missing_ok=True)
        os.write(self._fd, f"{typed}\t\x01taken \r".encode())  # Tab, then to the beginning of the line
        until(result.exists)
        return result.read_text().split("\0")[:-1]

    def close(self):
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._reader.join()
        os.close(self._fd)


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    made = Shell(tmp_path_factory.mktemp("zsh"))
    with contextlib.closing(made):
        yield made


@pytest.mark.parametrize("line", ["ado context use ", "ado tasks --label "])
def test_every_value_becomes_one_word(shell, line):
    for name in NAMES:
        assert shell.accept(line, name) == [*line.split(), name]
    assert not (shell.directory / "executed").exists()


def test_the_typed_program_is_asked_for_candidates(shell):
    other = shell.directory / "bin" / "ado"
    other.rename(other.with_name("away"))
    try:
        assert shell.accept("./ado attach ta", "task-1") == ["./ado", "attach", "task-1"]
    finally:
        other.with_name("away").rename(other)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("team=", "team=we b:c"),
        ("a:", "a:b c"),
        ('"tw', "two words"),
        ("'tw", "two words"),
        ("two\\ w", "two words"),
        ("--label=te", "--label=team=we b"),
    ],
)
def test_the_typed_prefix_stays_part_of_the_word(shell, typed, offered):
    assert shell.accept(f"ado tasks {typed}", offered) == ["ado", "tasks", offered]
