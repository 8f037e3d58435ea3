"""Starts ado by a fork of one process that has imported it: a start without imports costs a third of the CPU time.

The fork is a process with the arguments, environment, directory and standard streams that it is given, and runs the
program's own ``main``. ``/proc`` shows its command line and environment as those of a new process, as far as they
fit into the server's.

Run as a program, this module is the server: each message on its stdin asks for one process, whose pid and, later, exit
code go into the pipe that comes with the message.
"""

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "_ADO")
"""What Python, the linker or the C library reads; a fork is too late for it."""
LONGEST = 100_000  # bytes of a message: a socket of the kernel takes 200 kB at once
SMALLEST_PIPE = 4096  # bytes that any empty pipe takes at once
ROOM = 16_000  # bytes that the server adds to its command line and to its environment, which its forks overwrite
LATE = (
    "anyio._backends._asyncio",
    "app.spawner.backends.local",
    "app.spawner.pod_setup",
    "app.spawner.process_spawner",
)
LATE += ("ahocorasick_rs", "encodings.idna", "uvicorn.lifespan.on", "uvloop", "worker.main", "worker.local_run")
LATE += ("cli.cyclopts_tree", "cli.fast_parser", "cli.parsing", "cyclopts.config", "docstring_parser", "rich.console")


class Forked:
    """A process that the server started, as ``subprocess.Popen`` shows its own."""

    stdout = stderr = None

    def __init__(self, args, status):
        self.args = args
        self.returncode = None
        self._status = status
        word, *pid = self._line().split()
        assert word == b"pid", "the fork failed before it could run"
        self.pid = int(pid[0])

    def _line(self):
        found = b""
        while not found.endswith(b"\n"):
            byte = os.read(self._status, 1)
            assert byte, "the server of forks has ended"
            found += byte
        return found

    def wait(self, timeout=None):
        """Wait for the end; return the exit code, or the negative number of the signal."""
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._status, select.POLLIN)
            if not poll.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(self._line())
            os.close(self._status)
        return self.returncode

    def poll(self):
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number):
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended, and the server has reaped it
                os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)


@functools.cache
def _server(network):
    """Start a server in the caller's network; return its socket, a lock for it, and what it read of its environment."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    read = _read_at_start(os.environ)
    with theirs:
        # with pipes, so that Python takes its streams for ones without a position, whatever they are in a fork
        streams = {"stdin": theirs, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        env = {**os.environ, "ADO_ROOM": "x" * ROOM}
        process = subprocess.Popen([sys.executable, "-P", __file__, "x" * ROOM], env=env, **streams)

    def stop():
        ours.close()
        process.wait(60)
        process.stdout.close()

    atexit.register(stop)
    return ours, threading.Lock(), read


def _read_at_start(env):
    return {name: value for name, value in env.items() if name.startswith(READ_AT_START)}


def start(arguments, *, env, cwd, stdin, stdout, stderr):
    """Start ado in a session of its own; the streams are descriptors. None where only a new process would do."""
    connection, lock, read = _server(Path("/proc/thread-self/ns/net").readlink())
    arguments = [os.fsdecode(argument) for argument in arguments]  # bytes as Python shows them in sys.argv
    command = [sys.executable, "-P", "-m", "cli", *arguments]
    message = json.dumps([command, env, cwd]).encode()
    if _read_at_start(env) != read or len(message) > LONGEST:
        return None
    reading, writing = os.pipe()
    try:
        with lock:
            socket.send_fds(connection, [message], [stdin, stdout, stderr, writing])
    finally:
        os.close(writing)
    return Forked(command, reading)


def run(arguments, *, env, cwd, timeout, data=None, merged=False):
    """Run ado to its end, as ``subprocess.run`` does; None where only a new process would do.

    ``data`` comes through a pipe; without it, nothing is on stdin. ``merged`` sends stderr where stdout goes.
    """
    out, err = os.pipe(), os.pipe()
    given = os.pipe() if data is not None else (os.open(os.devnull, os.O_RDONLY), None)
    if data is not None:  # what fits is there before the program, which looks at once whether something is piped in
        data = data[os.write(given[1], data[:SMALLEST_PIPE]) :]
    try:
        streams = {"stdin": given[0], "stdout": out[1], "stderr": out[1] if merged else err[1]}
        process = start(arguments, env=env, cwd=cwd, **streams)
    finally:
        for descriptor in (given[0], out[1], err[1]):
            os.close(descriptor)
    with os.fdopen(out[0], "rb") as stdout, os.fdopen(err[0], "rb") as stderr, ThreadPoolExecutor(3) as threads:
        if given[1] is not None:
            threads.submit(_give, given[1], data)
        if process is None:
            return None
        texts = [threads.submit(stream.read) for stream in (stdout, stderr)]
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, *(text.result() for text in texts))


def _give(pipe, data):
    """Write to a pipe what its reader takes, and close it."""
    with contextlib.suppress(BrokenPipeError), os.fdopen(pipe, "wb") as target:
        target.write(data)


def _import_all():
    """Import what commands, replicas, workers and spawners import, even late, and read the statements."""
    from app.replica.main import create_app
    from app.settings import AppSettings
    from cli.app import COMMANDS
    from db import queries

    for path in COMMANDS.values():
        importlib.import_module(path.partition(":")[0])
    for package in ("cli.render", "cli.remote", "app.client", "app.core", "app.rpc.client", "app.replica"):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            importlib.import_module(module.name)
    for name in LATE:
        importlib.import_module(name)
    queries.load()
    create_app(AppSettings(dsn="postgresql:///"))  # its framework loads half of itself


def _report_ends(statuses):
    """Report the processes that have ended."""
    while statuses:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        status_pipe = statuses.pop(pid)
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
            os.write(status_pipe, b"%d\n" % os.waitstatus_to_exitcode(status))
        os.close(status_pipe)


def _show(command, env):
    """Write a command line and an environment where the kernel reads those of this process."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    starts, ends = map(int, fields[45:49:2]), map(int, fields[46:49:2])
    texts = (command, [f"{name}={value}" for name, value in env.items()])
    for start, end, words in zip(starts, ends, texts, strict=True):
        shown = b"".join(os.fsencode(word) + b"\0" for word in words)[: end - start - 1]
        ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)


def _configure_agents(env):
    """Have the agents that an import reads from its environment, and the bridge to them that a test names."""
    from worker.agents import AGENTS, acp

    for name in [name for name, agent in AGENTS.items() if isinstance(agent, acp.AcpAgent)]:
        del AGENTS[name]
    AGENTS.update(acp.configured(env.get("ADO_ACP_AGENTS", ",".join(acp.DEFAULT)).split(",")))
    if bridge := env.get("ACP_BRIDGE"):
        acp.module = lambda _, *arguments: [*shlex.split(bridge), *arguments]


def _become(command, env, cwd, descriptors):
    """Make the fork what it is to be, and then tell its pid."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    _configure_agents(env)
    os.chdir(cwd)
    sys.argv[1:] = command[4:]
    _show(command, env)
    os.write(descriptors[3], b"pid %d\n" % os.getpid())
    os.closerange(3, 4096)


def _end(program):
    """Run the program and end with its code, as the interpreter does but for one thing: it frees no object.

    To free them all would copy every page that the forks share.
    """
    try:
        program()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
        if not isinstance(code, int):
            raise
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


def _serve():
    """Start processes until the test process ends; return in each of them."""
    requests = socket.socket(fileno=os.dup(0))
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the test process still has to end what it started
    statuses = {}
    while True:
        ready, _, _ = select.select([requests, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _report_ends(statuses)
        if requests in ready:
            message, descriptors, _, _ = socket.recv_fds(requests, LONGEST, 4)
            if not message:
                os._exit(0)
            if (pid := os.fork()) == 0:
                requests.detach()  # its number is closed with all others
                _become(*json.loads(message), descriptors)
                return
            statuses[pid] = descriptors[3]
            for descriptor in descriptors[:3]:
                os.close(descriptor)


if __name__ == "__main__":
    import cli.__main__ as program

    sys.argv[:] = [program.__file__]
    _import_all()
    gc.collect()
    gc.freeze()
    _serve()
    _end(program.main)
