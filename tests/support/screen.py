"""A program in a real terminal, and the screen as a person sees it (emulated by pyte)."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pyte


class Terminal:
    """Runs ado with some arguments, or another command, in a pseudo-terminal of a given size."""

    def __init__(self, arguments=(), env=None, *, command=None, cwd="/", columns=80, lines=24):
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.written = b""
        self._fd, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        env = {**(env or {}), "TERM": "xterm-256color"}
        env.pop("COLUMNS", None)
        self.process = subprocess.Popen(
            command or [sys.executable, "-P", "-m", "cli", *arguments],
            stdin=child, stdout=child, stderr=child, env=env, cwd=cwd,
            preexec_fn=_own_terminal,  # noqa: PLW1509 - nothing else takes a controlling terminal; no thread runs here
        )  # fmt: skip
        os.close(child)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._fd)

    def type(self, text):
        """Press keys."""
        os.write(self._fd, text.encode())

    def until(self, text, seconds=60.0):
        """Read until a text stands on the screen."""
        end = time.monotonic() + seconds
        while text not in self.text():
            assert time.monotonic() < end, f"{text!r} is not on the screen:\n{self.text()}"
            assert self._read(0.1) or text in self.text(), f"ended without {text!r}:\n{self.text()}"
        return self.text()

    def end(self, seconds=60.0):
        """Read to the end; return the exit code."""
        end = time.monotonic() + seconds
        while self._read(0.1):
            assert time.monotonic() < end, f"it goes on:\n{self.text()}"
        return self.process.wait(60)

    def text(self):
        """Return what the screen shows."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def colours(self):
        """Return the colours on the screen, by the text of their line."""
        found = {}
        for number, line in self.screen.buffer.items():
            shades = {cell.fg for cell in line.values() if cell.fg != "default"}
            if shades:
                found[self.screen.display[number].rstrip()] = shades
        return found

    def _read(self, seconds):
        if not select.select([self._fd], [], [], seconds)[0]:
            return True
        data = b""
        with contextlib.suppress(OSError):  # EIO is how Linux says that the last writer has gone
            data = os.read(self._fd, 65536)
        self.written += data
        self._stream.feed(data)
        return bool(data)


def _own_terminal():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
