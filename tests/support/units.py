"""The units of ``deploy/systemd``, read as systemd reads them."""

import re
import shlex

from support.rendering import DEPLOY

DIRECTORY = DEPLOY / "systemd"
FILES = sorted(DIRECTORY.iterdir())


def options(text, section="Service"):
    """Return the options of a section: a name, and each value that it was given, in order."""
    found = {}
    part = text.partition(f"[{section}]\n")[2].partition("\n[")[0]
    for name, value in re.findall(r"^(\w+)=(.*)$", part, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def environment(text):
    """Return the variables that a unit sets itself."""
    words = [word for line in options(text).get("Environment", []) for word in shlex.split(line)]
    return dict(word.split("=", 1) for word in words)


def command(text, instance=""):
    """Return what a unit starts, for an instance of it."""
    (line,) = options(text)["ExecStart"]
    return shlex.split(line.replace("%%", "%").replace("%i", instance).replace("$$", "$"))
