"""Files that a run of tests leaves in the checkout."""

import subprocess

from support.rendering import ROOT


def untracked():
    """Return the files of the checkout that git neither tracks nor ignores."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "--others", "--exclude-standard"]
    return set(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines())
