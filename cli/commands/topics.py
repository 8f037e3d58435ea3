"""``ado help``."""

from __future__ import annotations

from cli.errors import usage
from cli.exits import TABLE


def topic(name: str = "", /) -> int:
    """Explain a topic.

    Parameters
    ----------
    name
        exit-codes
    """
    if not name:
        print("topics: exit-codes\ncommands: ado --help")
        return 0
    if name != "exit-codes":
        raise usage(f"there is no topic {name!r}", "topics: exit-codes; commands: ado --help")
    print(TABLE, end="")
    return 0
