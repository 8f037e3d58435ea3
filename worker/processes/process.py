"""The processes of one agent, as the worker controls them: started under a keeper, which signals and ends them.

The worker does not rely on the keeper, because the agent may have the same user. A stopped keeper is continued. A
keeper that does not end after a kill, or is stopped again and again, is killed; the worker kills the processes that it
leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from worker.processes import keeper

_KEEPER = str(Path(__file__).with_name("keeper.py"))
_NUDGE_SECONDS = 1.0
_KEEPER_SECONDS = 20.0  # longer than a keeper tries to kill processes at most
_STOPPED_SECONDS = 1.5  # if a keeper is still stopped after two nudges, its agent stops it on purpose
_SWEEP_SECONDS = 10.0
_PAUSE_SECONDS = 0.01
_SWIFT_ROUNDS = 200  # rounds without a pause, to catch processes that fork and exit all the time
_WALK_ROUNDS = 20
_CLEAN_LOOKS = 3  # a process that starts while the kernel lists the children may be missing from the list
_REPORT_BYTES = 64 * 1024
_START_DESCRIPTORS = 16  # uvloop opens at most 9 for a process; other threads may open the rest meanwhile
_LONGEST_VARIABLE = 128 * 1024  # on Linux, with its name and the NUL byte at its end
_TOO_LARGE = "its arguments or its environment are too large (Linux: 128 KiB for one of them, 2 MiB in all)"
_SHORTAGES = frozenset({
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO),
})  # fmt: skip


def is_shortage(number: int | None) -> bool:
    """Whether an error number means that the machine lacks a resource, so the job is not at fault."""
    return number in _SHORTAGES


class KeeperBroken(Exception):
    """A keeper's report cannot be read, so the agent's end is unknown."""


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """How an agent's main process ended: by an exit code, by a signal, or with an error before it started."""

    exit_code: int | None = None
    signal: int | None = None
    error: str | None = None
    is_short_of_resources: bool = False
    """Whether it did not start because the machine lacks processes, memory or files."""
    survivors: tuple[str, ...] = ()
    """Descriptions of processes that could not be killed."""

    @property
    def code(self) -> int | None:
        """Its exit code as a shell counts it: 128 and the number of a signal that ended it."""
        return self.exit_code if self.signal is None else 128 + self.signal


class _KeeperReport(msgspec.Struct):
    exit: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = None
    signal: Annotated[int, msgspec.Meta(ge=1, le=127)] | None = None
    error: str | None = None
    errno: int | None = None
    survivors: list[str] = []


class KeptProcess:
    """An agent under its keeper; ``stdout``, ``stderr`` and ``events`` are the read ends of its pipes.

    ``stdin`` is the write end of its stdin, if that is a pipe.
    """

    keepers: set[int] = set()
    """Pids of this worker's keepers and git commands, which are no strays."""
    survived = False
    """Whether a process of an earlier attempt could not be killed."""
    births = 0
    """How many children are being started at present."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        fds: tuple[int, int, int],
        channel: socket.socket,
        stdin: int | None = None,
    ) -> None:
        self.stdout, self.stderr, self.events = fds
        self.stdin = stdin
        self._process = process
        self._channel = channel
        self._killed_at: float | None = None

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        stdin: str | int = "",
        held: Sequence[int] = (),
        within: Sequence[str] = (),
        user: int | None = None,
        fed: bool = False,
        expect: Callable[[Sequence[int]], Callable[[], None]] | None = None,
    ) -> KeptProcess:
        """Start an agent. Its stdin is a text or a descriptor, or with ``fed`` a pipe. Raises OSError.

        ADO_EVENTS_FD and ADO_EVENTS name the events pipe. All its processes keep the descriptors ``held`` open.
        The keeper's command is appended to ``within``, the command of the sandbox. The agent runs as ``user``.
        ``expect`` gets the read ends of stdout and stderr before anybody can write; its result undoes what it did.
        """
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            source, feed = _stdin(stdin, ours, theirs, fed=fed)
            (out_r, out_w), (err_r, err_w), (event_r, event_w) = _pipes(expect, ours, theirs)
            variables = {"ADO_EVENTS_FD": str(keeper.EVENTS_FD), "ADO_EVENTS": f"/dev/fd/{keeper.EVENTS_FD}"}
            environment = _environment({**env, **variables})
            theirs.callback(os.close, environment)
            channel, peer = socket.socketpair()
            ours.callback(channel.close)
            theirs.callback(peer.close)
            channel.setblocking(False)
            passed = (peer.fileno(), event_w, *held, environment)
            named = [str(peer.fileno()), str(event_w), ",".join(map(str, held)) or "-", str(environment)]
            if user is not None:
                named.append(str(user))
                # the agent may open them again, for example as /dev/stderr; an empty stdin is the machine's /dev/null
                for fd in (*((source,) if stdin or fed else ()), out_w, err_w, event_w):
                    os.fchown(fd, user, user)
            with cls.starting():
                process = await _execute(
                    *(*within, sys.executable, "-I", "-S", _KEEPER, *named, "--", *argv),
                    stdin=source,
                    stdout=out_w,
                    stderr=err_w,
                    pass_fds=passed,
                    env={},
                    cwd=cwd,
                    start_new_session=True,
                )
                cls.keepers.add(process.pid)
            ours.pop_all()
        return cls(process, (out_r, err_r, event_r), channel, feed)

    @classmethod
    @contextlib.contextmanager
    def starting(cls) -> Iterator[None]:
        """Protect a child that is being started: until it is in ``keepers``, it looks like a stray.

        Raises OSError if too few descriptors are left for one.
        """
        _demand_descriptors()
        cls.births += 1
        try:
            yield
        finally:
            cls.births -= 1

    def terminate(self) -> None:
        """Send SIGTERM to the whole tree."""
        self._order(b"T")

    def kill(self) -> None:
        """Send SIGKILL to the whole tree."""
        self._killed_at = self._killed_at or time.monotonic()
        self._order(b"K")

    def _order(self, order: bytes) -> None:
        with contextlib.suppress(OSError):  # it is closed, or the keeper has died or has not read earlier orders
            self._channel.send(order)
        self._nudge()

    def _nudge(self) -> None:
        """Continue a stopped keeper; kill one that has not obeyed a kill in time."""
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL if self._is_overdue() else signal.SIGCONT)

    def _is_overdue(self) -> bool:
        if self._killed_at is None:
            return False
        patience = _STOPPED_SECONDS if keeper.is_stopped(self._process.pid) else _KEEPER_SECONDS
        return time.monotonic() - self._killed_at > patience

    async def ended(self) -> ProcessEnd:
        """Wait until the whole tree has ended, and return how. Raises KeeperBroken after that."""
        waiting = asyncio.create_task(self._process.wait(), name="keeper end")
        try:
            while not waiting.done():
                await asyncio.wait([waiting], timeout=_NUDGE_SECONDS)
                self._nudge()
        finally:
            waiting.cancel()
        self.keepers.discard(self._process.pid)
        data = self._received()
        report = parse_report(data)
        if report is None and keeper.is_subreaper():
            survivors = await asyncio.to_thread(sweep)
        else:
            survivors = report.survivors if report else ()
        if KeptProcess.survived:  # a survivor is this worker's child now, and may have ended meanwhile
            await asyncio.to_thread(lambda: _collect(_strays() or []))
        KeptProcess.survived |= bool(survivors)
        if report is not None:
            return report
        if data:
            raise KeeperBroken(f"the agent has ended, but the report of its end cannot be read ({len(data)} bytes)")
        if code := max(0, self._process.returncode or 0):  # it ended by itself before it started the agent
            return ProcessEnd(
                error=f"its keeper ended with exit code {code}", is_short_of_resources=True, survivors=survivors
            )
        return ProcessEnd(signal=signal.SIGKILL, survivors=survivors)

    def _received(self) -> bytes:
        """Return the keeper's report; empty if it was killed with its agent."""
        try:
            return self._channel.recv(_REPORT_BYTES)
        except OSError:
            return b""

    def close(self) -> None:
        """Close the worker's end of the channel, and of stdin."""
        self._channel.close()
        self.close_stdin()

    def close_stdin(self) -> None:
        """Let the agent read the end of its stdin."""
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None


def parse_report(data: bytes) -> ProcessEnd | None:
    """Return the end in a keeper's report; None for anything that no keeper writes."""
    try:
        report = msgspec.convert(json.loads(data), _KeeperReport)  # msgspec's own decoder refuses lone surrogates
    except (msgspec.ValidationError, ValueError, RecursionError):
        return None
    if (report.exit, report.signal, report.error) == (None, None, None):
        return None
    error = _TOO_LARGE if report.errno == errno.E2BIG else report.error
    return ProcessEnd(report.exit, report.signal, error, is_shortage(report.errno), tuple(report.survivors))


async def _execute(*argv: str, **options: Any) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(*argv, **options)
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
        raise OSError(errno.E2BIG, _TOO_LARGE) from error


def _demand_descriptors() -> None:
    """Raise OSError unless ``_START_DESCRIPTORS`` more can be opened.

    uvloop never closes the descriptors that it duplicated for a process when one of them could not be had
    (MagicStack/uvloop#186), so it must not begin a start that it cannot finish.
    """
    with contextlib.ExitStack() as opened:
        for _ in range(_START_DESCRIPTORS):
            opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))


def _pipes(
    expect: Callable[[Sequence[int]], Callable[[], None]] | None,
    ours: contextlib.ExitStack,
    theirs: contextlib.ExitStack,
) -> list[tuple[int, int]]:
    """Make the pipes of stdout, stderr and events."""
    pipes = [_pipe(ours, theirs) for _ in range(3)]
    if expect is not None:
        ours.callback(expect([read for read, _ in pipes[:2]]))
    return pipes


def _pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    ours.callback(os.close, read)
    theirs.callback(os.close, write)
    return read, write


def _stdin(
    content: str | int, ours: contextlib.ExitStack, theirs: contextlib.ExitStack, *, fed: bool
) -> tuple[int, int | None]:
    """Return the agent's stdin, and the write end if it is a pipe."""
    if not fed:
        source = os.dup(content) if isinstance(content, int) else _file_of(content)
        theirs.callback(os.close, source)
        return source, None
    source, feed = os.pipe()
    theirs.callback(os.close, source)
    ours.callback(os.close, feed)
    os.set_blocking(feed, False)
    return source, feed


def _environment(env: Mapping[str, str]) -> int:
    """Return a descriptor to read variables from, each ended by a NUL byte. Raises OSError."""
    entries = [f"{name}={value}".encode("utf-8", "surrogateescape") for name, value in env.items()]
    if any(len(entry) >= _LONGEST_VARIABLE for entry in entries):
        raise OSError(errno.E2BIG, _TOO_LARGE)
    if any(b"\0" in entry for entry in entries):
        raise ValueError("embedded null byte")
    data = b"".join(entry + b"\0" for entry in entries)
    if sys.platform != "linux":
        return _file_with(data)
    with os.fdopen(os.memfd_create("environment"), "r+b") as file:  # values may be secrets, so they are never on a disk
        file.write(data)
        file.seek(0)
        return os.dup(file.fileno())


def _file_of(text: str) -> int:
    """Return a descriptor to read a text from: a file without a name, because writing to a pipe could block."""
    if not text:
        return os.open(os.devnull, os.O_RDONLY)
    return _file_with(text.encode("utf-8", "surrogateescape"))


def _file_with(data: bytes) -> int:
    """Return a descriptor of a file without a name that holds ``data``. Raises OSError."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        return os.dup(file.fileno())


def _strays() -> list[int] | None:
    """Return the children that this process did not start itself; None while one is being started.

    They are orphans of an ended keeper, in other sessions, because their agent was in another one. The children are
    listed before ``births`` and ``keepers`` are read: later starts are not in the list, earlier ones are known by then.
    """
    session = os.getsid(0)
    children = [pid for pid in keeper.children() if _session_of(pid) not in (session, None)]
    return None if KeptProcess.births else [pid for pid in children if pid not in KeptProcess.keepers]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _collect(pids: list[int]) -> None:
    """Reap children that have ended."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def sweep() -> tuple[str, ...]:
    """Kill orphans that became this process's children; return descriptions of those that stay. Blocks.

    The children of a killed process become this process's own, so the rounds go on until none is left.
    """
    deadline = time.monotonic() + _SWEEP_SECONDS
    rounds = clean = 0
    while clean < _CLEAN_LOOKS:
        strays = _strays()
        clean = clean + 1 if strays == [] else 0
        if strays:
            whole = rounds % _WALK_ROUNDS == 0  # a process that may not be killed hides its children
            keeper.kill_all([*(_below(strays) if whole else ()), *strays])
            _collect(strays)
        if time.monotonic() > deadline:
            return tuple(keeper.describe(pid) for pid in strays or ())
        rounds += 1
        time.sleep(0 if rounds < _SWIFT_ROUNDS else _PAUSE_SECONDS)
    return ()


def _below(pids: list[int]) -> list[int]:
    return [descendant for pid in pids for descendant in keeper.descendants(pid)]
