"""What can go wrong with the embedded server, each with its next step."""

from __future__ import annotations

from db.errors import DatabaseError


class EmbeddedError(DatabaseError):
    """The embedded server cannot be started; ``next_step`` says what to do."""


def start_failed(what: str, output: str, log: str) -> EmbeddedError:
    """Make the error for a failed start from what the server last said."""
    said = output.strip().splitlines()[-4:]
    detail = " | ".join(line.strip() for line in said) or "it said nothing"
    if "No space left on device" in output:
        return EmbeddedError(f"{what}: the disk is full", "free some space (or move ADO_HOME) and try again")
    if "shared memory" in output:
        return EmbeddedError(f"{what}: no shared memory: {detail}", "enlarge /dev/shm or close other servers")
    return EmbeddedError(f"{what}: {detail}", f"see {log}; a database of your own can be named with ADO_DSN")
