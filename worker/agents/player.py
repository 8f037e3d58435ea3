"""Plays the script of the agent ``scripted``; a program of its own, with the standard library alone.

``player.py SCRIPT [SESSION]``; a script that is ``-`` is read from stdin.
"""

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


def write_event(event: dict[str, Any]) -> None:
    """Write an event for the worker."""
    write(int(os.environ["ADO_EVENTS_FD"]), json.dumps(event).encode() + b"\n")


def ignore(_: Any) -> None:
    """Ignore SIGTERM from now on."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def spawn(command: str) -> None:
    """Start a process in a session of its own, and leave it running."""
    subprocess.Popen(["/bin/sh", "-c", command], start_new_session=True)


def put(file: dict[str, str]) -> None:
    """Write a file."""
    with open(file["path"], "w") as output:  # noqa: PTH123
        output.write(file["text"])


def until(path: str) -> None:
    """Wait until a file exists."""
    while not os.path.exists(path):  # noqa: PTH110
        time.sleep(0.02)


STEPS: dict[str, Callable[[Any], object]] = {
    "say": lambda text: write(1, (str(text) + "\n").encode()),
    "error": lambda text: write(2, (str(text) + "\n").encode()),
    "bytes": lambda text: write(1, base64.b64decode(text)),
    "sleep": lambda seconds: time.sleep(float(seconds)),
    "progress": lambda event: write_event({"type": "progress", **event}),
    "agent": lambda event: write_event({"type": "agent", **event}),
    "write": put,
    "until": until,
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
            raise ValueError(f"there is no step {name!r}, but {', '.join(STEPS)}, repeat and turn")
        STEPS[name](value)


def save(session: str, done: int) -> None:
    """End a turn: save in HOME how many steps were played, and write the events of a turn's end."""
    path = state_file(session)
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
    with open(path, "w") as output:  # noqa: PTH123
        output.write(str(done))
    write_event({"type": "agent", "event": "session", "sessionId": session})
    write_event(
        {
            "type": "agent",
            "event": "tool_end",
            "toolId": str(done),
            "tool": "turn",
            "kind": "other",
            "title": "turn",
            "ok": True,
        }
    )


def state_file(session: str) -> str:
    """Return the file of a session."""
    return os.path.join(os.environ["HOME"], ".scripted", session)  # noqa: PTH118


def main(script: str, session: str = "") -> None:
    """Play a script to its end; a session resumes after its last turn."""
    script = sys.stdin.read() if script == "-" else script
    done = 0
    if session:
        with open(state_file(session)) as saved:  # noqa: PTH123
            done = int(saved.read())
    steps = [read(number, line) for number, line in enumerate(script.splitlines(), 1) if line.strip()]
    for number, step in enumerate(steps[done:], done + 1):
        try:
            if "turn" in step:
                save(session or step["turn"], number)
            else:
                play(step)
        except (ValueError, TypeError, KeyError, OSError) as error:
            sys.exit(f"scripted: step {number} cannot be played: {error}; see ado help agents")


def read(number: int, line: str) -> dict[str, Any]:
    """Return the step of a line."""
    try:
        step = json.loads(line)
    except ValueError:
        step = None
    if not isinstance(step, dict):
        sys.exit(f'scripted: line {number} is no JSON object such as {{"say": "hello"}}; see ado help agents')
    return step


if __name__ == "__main__":
    main(*sys.argv[1:])
