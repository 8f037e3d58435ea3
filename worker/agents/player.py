"""Plays the script of the agent ``scripted``; a program of its own, with the standard library alone."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any


def write(fd: int, data: bytes) -> None:
    """Write everything, however full the pipe is."""
    while data:
        data = data[os.write(fd, data) :]


def tell(event: dict[str, Any]) -> None:
    """Tell the worker an event."""
    write(int(os.environ["ADO_EVENTS_FD"]), json.dumps(event).encode() + b"\n")


def ignore(_: Any) -> None:
    """Ignore SIGTERM from here on."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def spawn(command: str) -> None:
    """Leave a process behind in a session of its own."""
    subprocess.Popen(["/bin/sh", "-c", command], start_new_session=True)


STEPS: dict[str, Callable[[Any], object]] = {
    "say": lambda text: write(1, (str(text) + "\n").encode()),
    "error": lambda text: write(2, (str(text) + "\n").encode()),
    "bytes": lambda text: write(1, base64.b64decode(text)),
    "sleep": lambda seconds: time.sleep(float(seconds)),
    "progress": lambda event: tell({"type": "progress", **event}),
    "agent": lambda event: tell({"type": "agent", **event}),
    "spawn": spawn,
    "ignore": ignore,
    "exit": lambda code: sys.exit(int(code)),
}


def play(step: dict[str, Any]) -> None:
    """Carry out one step."""
    if "repeat" in step:
        for _ in range(int(step["repeat"])):
            for inner in step["steps"]:
                play(inner)
        return
    for name, value in step.items():
        if name not in STEPS:
            sys.exit(f"unknown step: {name}")
        STEPS[name](value)


def main(script: str) -> None:
    """Play a script to its end."""
    for line in script.splitlines():
        if line.strip():
            play(json.loads(line))


if __name__ == "__main__":
    main(sys.argv[1])
