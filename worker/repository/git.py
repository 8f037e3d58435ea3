"""Running git in the worker: no configuration but its own, killed with the attempt, never a child of the agent.

Only what speaks to a remote reads the configuration of the worker's user, because the credentials are there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from app.core.git import ENVIRONMENT, OLDEST, GitError, arguments
from app.core.programs import search_path
from worker.processes.process import KeptProcess

_SECONDS = 600.0
_OUTPUT_BYTES = 256 * 1024 * 1024  # a list of two million files
_PIECE_BYTES = 64 * 1024
_PASSED_ON = ("SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")
_FOR_REMOTES = (
    "HOME", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "http_proxy", "https_proxy",
    "HTTPS_PROXY", "no_proxy", "NO_PROXY",
)  # fmt: skip
_ISOLATED = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "HOME": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
}
_OWN = {
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_AUTHOR_EMAIL": "ado@localhost",
    "GIT_COMMITTER_EMAIL": "ado@localhost",
    "GIT_AUTHOR_NAME": "ado",
    "GIT_COMMITTER_NAME": "ado",
}
_OWN_SETTINGS = {
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.autocrlf": "false",
    "core.symlinks": "true",
    "init.defaultBranch": "main",
    "init.templateDir": "",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
}


async def git(
    *words: str,
    git_dir: Path,
    work_tree: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: IO[bytes] | bytes | None = None,
    stdout: IO[bytes] | None = None,
    seconds: float = _SECONDS,
    limit: int = _OUTPUT_BYTES,
    remote: bool = False,
) -> bytes:
    """Run git and return its output. Raises GitError when it fails, is missing, takes too long or says too much.

    With ``remote`` it may use the credentials of the worker's own user, from that user's configuration.
    """
    settings = [part for name, value in _OWN_SETTINGS.items() for part in ("-c", f"{name}={value}")]
    command = ["git", *arguments(), *settings, *words]
    passed = (*_PASSED_ON, *_FOR_REMOTES) if remote else _PASSED_ON
    surrounding = {"PATH": search_path(), **({"GIT_SSH_COMMAND": "ssh -o BatchMode=yes"} if remote else {})}
    surrounding |= {name: os.environ[name] for name in passed if name in os.environ}
    surrounding |= {**ENVIRONMENT, **_OWN, **({} if remote else _ISOLATED), "GIT_DIR": str(git_dir), **(env or {})}
    if work_tree is not None:
        surrounding["GIT_WORK_TREE"] = str(work_tree)
    given = asyncio.subprocess.PIPE if isinstance(stdin, bytes) else stdin or asyncio.subprocess.DEVNULL
    try:
        with KeptProcess.starting():
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=given,
                stdout=stdout or asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=surrounding,
                cwd=work_tree or "/",
                start_new_session=True,
            )
            KeptProcess.keepers.add(process.pid)
    except FileNotFoundError:
        raise GitError("git is not installed on the worker") from None
    try:
        async with asyncio.timeout(seconds):
            out, err = await _converse(process, stdin if isinstance(stdin, bytes) else b"", limit)
    except TimeoutError:
        raise GitError(f"git {words[0]} took longer than {seconds:.0f} s") from None
    except _TooMuch:
        raise GitError(f"git {words[0]} answered with more than {limit} bytes") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        KeptProcess.keepers.discard(process.pid)
    if process.returncode:
        raise GitError(_said(words[0], err))
    return out


class _TooMuch(Exception):
    """A command's output is larger than what is held in memory for it."""


async def _converse(process: asyncio.subprocess.Process, stdin: bytes, limit: int) -> tuple[bytes, bytes]:
    """Give a process its input; return its output and errors. Raises _TooMuch over a limit of either, in bytes."""
    parts = [_read(process.stdout, limit), _read(process.stderr, limit), _feed(process.stdin, stdin)]
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        out, err, _ = await asyncio.gather(*tasks)
        await process.wait()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return out, err


async def _read(stream: asyncio.StreamReader | None, limit: int) -> bytes:
    pieces, size = [], 0
    while stream is not None and (piece := await stream.read(_PIECE_BYTES)):
        size += len(piece)
        if size > limit:
            raise _TooMuch
        pieces.append(piece)
    return b"".join(pieces)


async def _feed(stream: asyncio.StreamWriter | None, data: bytes) -> bytes:
    if stream is not None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its exit code says why it stopped reading
            stream.write(data)
            await stream.drain()
        stream.close()
    return b""


def _said(word: str, err: bytes) -> str:
    lines = [line for line in err.decode("utf-8", "replace").splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "it failed")
    return f"git {word}: {told}"[:1000]


async def check_version() -> None:
    """Raise GitError unless git is there and new enough."""
    found = (await git("version", git_dir=Path("/nonexistent"))).decode()
    match = re.search(r"(\d+)\.(\d+)", found)
    if match is None or (int(match[1]), int(match[2])) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise GitError(f"{found.strip()} on the worker is too old: {wanted} or newer is needed")
