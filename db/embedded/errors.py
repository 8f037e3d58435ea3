"""What can go wrong with the embedded server, each with its next step."""

from __future__ import annotations

from db.errors import DatabaseError


class EmbeddedError(DatabaseError):
    """The embedded server cannot be started; ``next_step`` says what to do."""


def start_failed(problem: str, output: str, log: str) -> EmbeddedError:
    """Return the error for a failed start, with the last lines of the server's output."""
    lines = output.strip().splitlines()[-4:]
    detail = " | ".join(line.strip() for line in lines) or "it printed nothing"
    if "No space left on device" in output:
        return EmbeddedError(f"{problem}: the disk is full", "free some space (or move ADO_HOME) and try again")
    if "shared memory" in output:
        return EmbeddedError(f"{problem}: no shared memory: {detail}", "enlarge /dev/shm or close other servers")
    return EmbeddedError(f"{problem}: {detail}", f"see {log}; a database of your own can be named with ADO_DSN")
