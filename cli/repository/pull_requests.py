"""Opens a pull request with gh or glab, the programs of GitHub and GitLab.

They run outside of the repository, with the address of the remote: they call git themselves, and git would run what the
repository's own configuration names. Nothing is asked, so they fail where they would ask.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from app.core.programs import search_path
from cli import exits
from cli.errors import CliError
from cli.repository.remotes import PushRemote

_TITLE_CHARS = 100
_BODY_BYTES = 60_000  # GitHub takes 65,536 characters, and Linux 131,072 bytes in one argument
_REASON_CHARS = 1000
_SECONDS = 120.0
_ADDRESS = re.compile(r"https?://\S+")
_QUICK_ACTION = re.compile(r"^(\s*)/", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What to open: a branch that was pushed to a remote."""

    remote: PushRemote
    branch: str
    title: str
    body: str
    base: str | None = None
    """The branch to merge into; None: the server's default."""
    draft: bool = False

    def program(self) -> str | None:
        """Return the program for the remote's server; None if there is none."""
        return next((name for part, name in (("github", "gh"), ("gitlab", "glab")) if part in self.remote.host), None)

    def command(self, program: str) -> list[str]:
        """Return the command that opens it. Both programs take any word after an option as its value."""
        draft = ["--draft"] if self.draft else []
        host, path = self.remote.host, self.remote.path
        if program == "gh":
            base = ["--base", self.base] if self.base else []
            where = ["--repo", f"{host}/{path}", "--head", self.branch]
            return ["gh", "pr", "create", *where, "--title", self.title, "--body", self.body, *base, *draft]
        base = ["--target-branch", self.base] if self.base else []
        where = ["--repo", f"https://{host}/{path}", "--head", path, "--source-branch", self.branch]
        texts = ["--title", self.title, "--description", self.body]
        return ["glab", "mr", "create", *where, *texts, *base, *draft, "--yes"]


def title_of(prompt: str, task_id: str) -> str:
    """Return the prompt's first line as a title: without characters that are not seen, and not long."""
    lines = (" ".join(_printable(line).split()) for line in prompt.splitlines())
    title = next((line for line in lines if line), task_id)
    return title if len(title) <= _TITLE_CHARS else title[: _TITLE_CHARS - 1] + "…"


def body_of(summary: str, made_by: str) -> str:
    """Return the agent's summary and who made it. No line of it gives the server an order, as ``/merge`` would."""
    text = "\n".join(_printable(line, "\t") for line in summary.splitlines()).strip()
    data = _QUICK_ACTION.sub(r"\1\\/", text).encode()
    cut = data[:_BODY_BYTES].decode("utf-8", "ignore") + ("…" if len(data) > _BODY_BYTES else "")
    return f"{cut}\n\n{made_by}\n" if cut else f"{made_by}\n"


def _printable(text: str, also: str = "") -> str:
    return "".join(character if character.isprintable() or character in also else " " for character in text)


def open_request(request: PullRequest, program: str, repeat: str) -> str:
    """Run the program; return the address of the pull request, also of one that exists. Raises CliError.

    ``repeat`` is the command to repeat once what failed is mended.
    """
    page = request.remote.new_request(request.branch)
    code, output, errors = _run(request.command(program), f"the branch is pushed; open it by hand: {page}")
    addresses = _ADDRESS.findall(output if code == 0 else errors if "already exists" in errors else "")
    if code == 0 or addresses:
        return addresses[-1] if addresses else page
    reason = " / ".join(line.strip() for line in (errors or output).splitlines() if line.strip())[:_REASON_CHARS]
    remedy = f"sign in with {program} auth login" if "auth login" in reason else "correct that"
    step = f"the branch is pushed; {remedy}, then repeat: {repeat}; or open it by hand: {page}"
    raise CliError(
        f"{program} opened no pull request: {reason or f'exit code {code}'}", step, exits.FAILED, "pull_request"
    )


def is_installed(program: str) -> bool:
    """Whether a program is on the PATH, its relative entries left out."""
    return shutil.which(program, path=search_path()) is not None


def _run(command: Sequence[str], step: str) -> tuple[int, str, str]:
    """Run a program in an empty directory; return its exit code and what it wrote. Raises CliError."""
    surrounding = {name: value for name, value in os.environ.items() if not name.startswith(("ADO_", "GIT_"))}
    environment = {**surrounding, "PATH": search_path(), "NO_COLOR": "1", "GH_PROMPT_DISABLED": "1"}
    with tempfile.TemporaryDirectory(prefix="ado-") as empty:
        try:
            done = subprocess.run(
                command, cwd=empty, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                timeout=_SECONDS,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            why = f"no end within {_SECONDS:.0f} s" if isinstance(error, subprocess.TimeoutExpired) else error.strerror
            raise CliError(f"{command[0]} failed: {why}", step, exits.FAILED, "pull_request") from error
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
