"""Stands in for claude-code under chaos, as a program: no model could be killed as often.

It speaks the lines that claude speaks. Its session is a file under HOME, as claude's is, and can be resumed. For each
``[word N]`` that it is told it asks for a tool, and notes the word and the answer in its session. ``[end]`` ends the
turn once all its questions are answered. Any other text means that a check failed: then it mends what the check looks
at.
"""

import json
import os
import re
import sys
import uuid
from pathlib import Path


def say(**line):
    os.write(1, json.dumps(line).encode() + b"\n")


class Session:
    """What the agent remembers: words, answers and the end, one a line."""

    def __init__(self, name, *, resumed):
        self.name = name
        self._path = Path.home() / ".claude" / "projects" / "chaos" / f"{name}.jsonl"
        if resumed and not self._path.exists():
            sys.exit(f"No conversation found with session ID: {name}")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()

    def notes(self, kind):
        lines = (line.split() for line in self._path.read_text().splitlines())
        return [number for name, number in lines if name == kind]

    def note(self, kind, number="0"):
        with self._path.open("a") as file:
            file.write(f"{kind} {number}\n")


def end_turn(session):
    if session.notes("end") and set(session.notes("word")) <= set(session.notes("answer")):
        words = " ".join(sorted(set(session.notes("word")), key=int))
        say(type="result", subtype="success", is_error=False, result=words, num_turns=1, session_id=session.name)


def hear(session, text):
    for number in re.findall(r"\[word (\d+)\]", text):
        session.note("word", number)
    if "[end]" in text:
        session.note("end")
    if not re.search(r"\[(word \d+|end)\]", text) and session.notes("end"):
        Path("mended").touch()


def main(arguments):
    if "--version" in arguments:
        os.write(1, b"2.0.0 (Claude Code)\n")
        return
    resumed = "--resume" in arguments
    name = arguments[arguments.index("--resume" if resumed else "--session-id") + 1]
    session, asked = Session(name, resumed=resumed), set()
    say(type="system", subtype="init", session_id=name, model="none")
    for text in sys.stdin:
        line = json.loads(text)
        if line["type"] == "control_response":
            answer = line["response"]
            number = answer["request_id"].partition("-")[0]
            assert answer["response"]["behavior"] == "allow", answer
            session.note("answer", number)
            result = {"type": "tool_result", "tool_use_id": f"tool-{number}", "content": "ok"}
            say(type="user", message={"role": "user", "content": [result]}, session_id=name)
        else:
            hear(session, line["message"]["content"])
            say(type="user", isReplay=True, uuid=line.get("uuid"), message=line["message"], session_id=name)
            for number in set(session.notes("word")) - set(session.notes("answer")) - asked:
                asked.add(number)
                request(session, number)
        end_turn(session)


def request(session, number):
    """Ask for the tool of a word."""
    values = {"command": f"note {number}"}
    use = {"type": "tool_use", "id": f"tool-{number}", "name": "Bash", "input": values}
    say(type="assistant", message={"id": f"m{number}", "content": [use]}, session_id=session.name)
    wish = {"subtype": "can_use_tool", "tool_name": "Bash", "tool_use_id": use["id"], "input": values}
    say(type="control_request", request_id=f"{number}-{uuid.uuid4().hex}", request=wish)


if __name__ == "__main__":
    main(sys.argv[1:])
