"""Things that belong to another user, whether the tests run as root or not."""

import os

OTHER = 12345


def give_away(path, monkeypatch):
    """Make a path another user's; an ordinary user cannot, so then everything of theirs looks like another user's."""
    if os.geteuid() == 0:
        os.chown(path, OTHER, OTHER, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: OTHER)
