"""A person's shell: commands are typed at its prompt in a terminal of 80 columns, and what they print is read there."""

import itertools
import os
import re
import sys
import time
from pathlib import Path

from support.screen import Terminal

_COLUMNS = 80
_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\r(?=\n)")


class Shell(Terminal):
    """bash as a new user finds it: a HOME of its own, no setting of ado, and the checkout's ``ado`` on the PATH."""

    def __init__(self, home, **env):
        self.home = home
        programs = home / "programs"
        programs.mkdir()
        (programs / "ado").symlink_to(Path(sys.executable).with_name("ado"))
        own = {name: value for name, value in os.environ.items() if not name.startswith(("ADO_", "XDG_", "GIT_"))}
        own |= {"HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}", "PS1": "", **env}
        super().__init__(env=own, command=["bash", "--norc", "--noprofile", "--noediting", "-i"], cwd=home)
        self._numbers = itertools.count(1)
        self.run("stty -echo; PS2=; set +o history")

    def run(self, command, *shown, code=0, seconds=90, wide=False):
        """Type a command; return what it printed.

        It must end with ``code``, print all of ``shown``, no traceback, and, unless ``wide`` is set, no line of
        several words that is wider than the terminal.
        """
        self.start(command)
        return self.finish(*shown, code=code, seconds=seconds, wide=wide)

    def start(self, command):
        """Type a command, and do not wait for its end."""
        number = next(self._numbers)
        self._command = command
        self._end = re.compile(rf"end-{number}-(\d+)\n")
        self._from = len(self.written)
        self.type(f"{{ {command}\n}}; echo end''-{number}-$?\n")  # '' so that an echo of it does not look like the end

    def finish(self, *shown, code=0, seconds=90, wide=False):
        """Wait for the end of the command that was started, and check it as ``run`` does."""
        self._read_until(lambda: self._end.search(self.printed()), "its end", seconds)
        end = self._end.search(self.printed())
        text = self.printed()[: end.start()]
        assert end[1] == str(code), f"{self._command} ended with {end[1]}, not {code}:\n{text}"
        for part in shown:
            assert part in text, f"{self._command} does not show {part!r}:\n{text}"
        assert "Traceback" not in text, text
        widest = max((line for line in text.splitlines() if len(line.split()) > 1), key=len, default="")
        assert wide or len(widest) <= _COLUMNS, f"{self._command} prints a line of {len(widest)} columns:\n{widest}"
        return text

    def sees(self, text, seconds=60):
        """Wait until the running command has printed a text."""
        self._read_until(lambda: text in self.printed(), repr(text), seconds)

    def printed(self):
        """Return what was printed since the last command was typed, without colours."""
        return _CONTROL.sub(b"", self.written[self._from :]).decode(errors="replace")

    def _read_until(self, condition, what, seconds):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{self._command}: no {what} within {seconds} s:\n{self.printed()}"
            assert self._read(0.1), f"the shell ended:\n{self.printed()}"
