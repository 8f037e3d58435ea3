"""Agents of the Agent Client Protocol and ado's bridge to them, as forks of one process that has imported the SDK.

The SDK takes a second of CPU time to import, and a conversation has two programs that need it. ``python acp_forks.py
SOCKET PROGRAM ARGUMENT…`` has the process at the socket fork. The fork gets the streams, directory and environment of
who asks, who ends with its exit code. If who asks is killed, so is the fork. PROGRAM is ``agent`` or ``bridge``.
``serve SOCKET`` is the process that forks.
"""

import contextlib
import json
import os
import signal
import sys
from socket import AF_UNIX, SOCK_SEQPACKET, recv_fds, send_fds, socket

LONGEST = 100_000  # bytes of a request: a socket of the kernel takes 200 kB at once


def request(path, arguments):
    """Have a program run with the streams of this process; return its exit code."""
    from pathlib import Path

    with socket(AF_UNIX, SOCK_SEQPACKET) as connection:
        connection.connect(path)
        send_fds(connection, [json.dumps([arguments, str(Path.cwd()), dict(os.environ)]).encode()], [0, 1, 2])
        for descriptor in range(3):
            os.close(descriptor)  # who reads sees the end with the end of the fork
        return int(connection.recv(100) or b"1")


def become(directory, env, descriptors):
    """Give a fork the streams, directory and environment of who asked for it."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, 4096)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(env)


def serve(path):
    """Fork for each request, until stdin ends."""
    import asyncio
    import gc
    import select
    from pathlib import Path

    import acp

    from worker.agents import acp_bridge

    sys.path.append(str(Path(__file__).parent))
    import acp_agent

    programs = {
        "agent": lambda _: asyncio.run(acp.run_agent(acp_agent.Agent())),
        "bridge": acp_bridge.main,
    }
    signal.signal(signal.SIGCHLD, lambda *_: None)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    waiting = {}  # pid: the connection of who asked; None if that was killed
    listener = socket(AF_UNIX, SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(64)
    gc.freeze()
    os.write(1, b"ready\n")
    while True:
        ready, _, _ = select.select([0, woken, listener, *filter(None, waiting.values())], [], [])
        if 0 in ready:
            return
        end_abandoned(waiting, ready)
        if woken in ready:
            os.read(woken, 4096)
            answer_ended(waiting)
        if listener in ready:
            connection, _ = listener.accept()
            waiting[fork(connection, programs)] = connection


def end_abandoned(waiting, ready):
    """Kill the forks of those who were killed themselves: only then is there something to read, the end."""
    for pid in [pid for pid, connection in waiting.items() if connection in ready]:
        waiting[pid].close()
        waiting[pid] = None
        os.kill(pid, signal.SIGKILL)


def answer_ended(waiting):
    """Send the exit codes of forks that have ended to who asked for them."""
    while waiting and (ended := os.waitpid(-1, os.WNOHANG))[0]:
        if connection := waiting.pop(ended[0]):
            with connection, contextlib.suppress(BrokenPipeError):  # who asked may be killed at this moment
                connection.send(b"%d" % os.waitstatus_to_exitcode(ended[1]))


def fork(connection, programs):
    """Fork the program that a request names; return the process."""
    message, descriptors, _, _ = recv_fds(connection, LONGEST, 3)
    if (pid := os.fork()) == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        (program, *arguments), directory, env = json.loads(message)
        become(directory, env, descriptors)
        code = programs[program](arguments)
        sys.stdout.flush()
        os._exit(code or 0)  # to free every object would copy every page that the forks share
    for descriptor in descriptors:
        os.close(descriptor)
    return pid


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(request(sys.argv[1], sys.argv[2:]))
