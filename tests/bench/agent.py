"""Stands in for claude-code in the benchmark of words: it notes when lines reach its stdin, and asks for a tool.

The real program would add its own time. Each note is ``WHAT NUMBER NANOSECONDS``, in the file that BENCH_NOTES names.
"""

import json
import os
import sys
import time


def say(**members: object) -> None:
    """Write one line, at once."""
    os.write(1, json.dumps(members).encode() + b"\n")


def main() -> None:
    """Follow the words on stdin: ``note N``, ``ask N``, or ``end``."""
    if "--version" in sys.argv:
        os.write(1, b"2.0.0 (Claude Code)\n")
        return
    notes = os.open(os.environ["BENCH_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    say(type="system", subtype="init", session_id="00000000-0000-4000-8000-000000000000", model="none")
    for text in sys.stdin.buffer:
        now, line = time.time_ns(), json.loads(text)
        if line["type"] == "control_response":
            os.write(notes, f"answer {line['response']['request_id']} {now}\n".encode())
            continue
        word, _, number = line["message"]["content"].partition(" ")
        os.write(notes, f"message {number} {now}\n".encode())
        say(type="user", isReplay=True, uuid=line.get("uuid"), message={"role": "user", "content": "x"})
        if word == "ask":
            values = {"command": str(time.time_ns())}
            request = {"subtype": "can_use_tool", "tool_name": "Bash", "tool_use_id": number, "input": values}
            say(type="control_request", request_id=number, request=request)
        if word == "end":
            say(type="result", subtype="success", is_error=False, result="done", num_turns=1)


if __name__ == "__main__":
    main()
