"""Commands for a fake agent of the Agent Client Protocol, and for ado's bridge to it, that start without imports."""

import contextlib
import shlex
import subprocess
import sys

from . import acp_forks
from .postgres import fast_directory, remove


class AcpPrograms:
    """The process that forks them, and what has others ask it for one."""

    def __init__(self, socket):
        self._socket = socket

    def command(self, program):
        """Return the beginning of a command for a fork of ``agent`` or ``bridge``."""
        return [sys.executable, "-I", "-S", acp_forks.__file__, self._socket, program]

    def environment(self, *names):
        """Return the variables of a worker that offers the fake agent by some names, with bridges that are forks."""
        agent, bridge = shlex.join(self.command("agent")), shlex.join(self.command("bridge"))
        return {"ADO_ACP_AGENTS": ",".join(f"{name}={agent}" for name in names), "ACP_BRIDGE": bridge}


@contextlib.contextmanager
def served():
    """Have a process fork on request."""
    directory = fast_directory()
    socket = str(directory / "forks")
    command = [sys.executable, "-P", acp_forks.__file__, "serve", socket]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout.readline() == b"ready\n"
        yield AcpPrograms(socket)
        server.stdin.close()
    remove(directory)
