"""Running git in the worker: with no configuration but its own, killed with the attempt, never a child of the agent.

Only commands that reach a remote read the configuration of the worker's user, because the credentials are there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from app.core.git import ENVIRONMENT, IMPORT_PACK, GitError, arguments, describe_failure, require_version
from app.core.pack_check import PackLimits, check_bundle, open_pack
from app.core.programs import search_path
from worker.processes.process import KeptProcess

_SECONDS = 600.0
OUTPUT_BYTES = 256 * 1024 * 1024  # a list of two million files
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


class _OutputTooLarge(Exception):
    """A command's output is larger than what may be held in memory."""


async def git(
    *words: str,
    git_dir: Path,
    work_tree: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: IO[bytes] | bytes | None = None,
    stdout: IO[bytes] | None = None,
    seconds: float = _SECONDS,
    limit: int = OUTPUT_BYTES,
    remote: bool = False,
) -> bytes:
    """Run git and return its output, at most ``limit`` bytes.

    With ``remote`` it uses the credentials and the configuration of the worker's own user. Raises GitError when git
    fails, is missing, takes longer than ``seconds``, or writes too much.
    """
    variables = {"GIT_DIR": str(git_dir), **({"GIT_WORK_TREE": str(work_tree)} if work_tree else {}), **(env or {})}
    source = asyncio.subprocess.PIPE if isinstance(stdin, bytes) else stdin or asyncio.subprocess.DEVNULL
    try:
        with KeptProcess.starting():
            process = await asyncio.create_subprocess_exec(
                *("git", *arguments(), *arguments(_OWN_SETTINGS), *words),
                stdin=source,
                stdout=stdout or asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**_environment(remote=remote), **variables},
                cwd=work_tree or "/",
                start_new_session=True,
            )
            KeptProcess.keepers.add(process.pid)
    except FileNotFoundError:
        raise GitError("git is not installed on the worker") from None
    try:
        async with asyncio.timeout(seconds):
            output, errors = await _communicate(process, stdin if isinstance(stdin, bytes) else b"", limit)
    except TimeoutError:
        raise GitError(f"git {words[0]} took longer than {seconds:.0f} s") from None
    except _OutputTooLarge:
        raise GitError(f"git {words[0]} answered with more than {limit} bytes") from None
    finally:
        await _kill(process)
    if process.returncode:
        raise GitError(describe_failure(words[0], errors))
    return output


def _environment(*, remote: bool) -> dict[str, str]:
    """Return the environment of a command, without what belongs to one repository."""
    passed = (*_PASSED_ON, *_FOR_REMOTES) if remote else _PASSED_ON
    env = {"PATH": search_path(), **({"GIT_SSH_COMMAND": "ssh -o BatchMode=yes"} if remote else {})}
    env |= {name: os.environ[name] for name in passed if name in os.environ}
    return {**env, **ENVIRONMENT, **_OWN, **({} if remote else _ISOLATED)}


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill a command with its children, if it still runs."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    KeptProcess.keepers.discard(process.pid)


async def _communicate(process: asyncio.subprocess.Process, stdin: bytes, limit: int) -> tuple[bytes, bytes]:
    """Write a process's input, and return its output and errors. Raises _OutputTooLarge if either is over the limit."""
    parts = [_read(process.stdout, limit), _read(process.stderr, limit), _write(process.stdin, stdin)]
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        output, errors, _ = await asyncio.gather(*tasks)
        await process.wait()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return output, errors


async def _read(stream: asyncio.StreamReader | None, limit: int) -> bytes:
    pieces, size = [], 0
    while stream is not None and (piece := await stream.read(_PIECE_BYTES)):
        size += len(piece)
        if size > limit:
            raise _OutputTooLarge
        pieces.append(piece)
    return b"".join(pieces)


async def _write(stream: asyncio.StreamWriter | None, data: bytes) -> bytes:
    if stream is not None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the exit code says why it stopped reading
            stream.write(data)
            await stream.drain()
        stream.close()
    return b""


async def import_bundle(git_dir: Path, bundle: Path, limits: PackLimits, env: Mapping[str, str] | None = None) -> str:
    """Check a bundle's objects, and import them into a repository; return its first commit. Raises GitError."""
    header = await asyncio.to_thread(check_bundle, bundle, limits)
    with open_pack(bundle, header) as pack:
        await git(*IMPORT_PACK, git_dir=git_dir, stdin=pack, env=env)
    if not header.heads:
        raise GitError("the bundle contains no commit")
    return header.heads[0][0]


async def check_version() -> None:
    """Raise GitError unless git is installed on the worker and new enough."""
    require_version(await git("version", git_dir=Path("/nonexistent")))
