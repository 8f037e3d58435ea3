"""The parent of one attempt's processes: it makes sure that nothing of them survives.

Run as a script of its own, with the standard library alone: ``python -I -S keeper.py CONTROL STATUS -- ARGV…``, where
CONTROL and STATUS are file descriptors. On CONTROL the worker writes ``T`` (SIGTERM to the whole tree) or ``K``
(SIGKILL); its end of file means that the worker has died, however it died, and counts as ``K``. When the agent's main
process ends, everything that is left of the tree is killed, and only then one line of JSON goes to STATUS: ``{"exit":
N}``, ``{"signal": N}`` or ``{"error": TEXT}``.

On Linux the keeper is a subreaper: what an agent starts in a session of its own, or double-forks, becomes the
keeper's child and is found. On macOS there is no such thing: children are followed through ``ps`` while their parents
live, which is the best that can be done.
"""

import ctypes
import errno
import json
import os
import select
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_LINUX = sys.platform == "linux"


def prctl(option: int, value: int) -> None:
    """Call Linux's prctl; nothing elsewhere."""
    if _LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def become_subreaper() -> None:
    """Let orphaned descendants become this process's children."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def is_subreaper() -> bool:
    """Whether orphaned descendants become this process's children."""
    answer = ctypes.c_int(0)
    if _LINUX:
        ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    return bool(answer.value)


def parents() -> dict[int, int]:
    """Return every process's parent."""
    found: dict[int, int] = {}
    if not _LINUX:
        listing = subprocess.run(["/bin/ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=False)
        for line in listing.stdout.splitlines():
            pid, ppid = line.split()
            found[int(pid)] = int(ppid)
        return found
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib is not worth its import here
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    # the command in parentheses may hold anything, so read from its end
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except OSError:
                continue
            if state != b"Z":
                found[int(name)] = int(parent)
    return found


def descendants(root: int) -> list[int]:
    """Return the living descendants of a process, parents before children."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    todo = [root]
    while todo:
        todo = [child for pid in todo for child in children.get(pid, ())]
        found += todo
    return found


def signal_all(pids: list[int], number: int) -> None:
    """Send a signal to processes that may be gone already."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError as error:
            if error.errno not in (errno.ESRCH, errno.EPERM):
                raise


def kill_tree(root: int) -> None:
    """Kill every descendant, those that are being born meanwhile included."""
    while pids := [pid for pid in descendants(root) if pid != root]:
        signal_all(pids, signal.SIGKILL)
        reap()
        select.select([], [], [], 0.005)


def reap() -> dict[int, int]:
    """Collect ended children: pid → wait status."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = status


def start(argv: list[str]) -> int:
    """Start the agent in a session of its own; raises OSError when it cannot be executed."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            os.execvp(argv[0], argv)
        except OSError as error:
            os.write(write, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(write)
    failure = os.read(read, 16)
    os.close(read)
    if failure:
        os.waitpid(pid, 0)
        raise OSError(int(failure), os.strerror(int(failure)))
    return pid


def wait(main: int, control: int) -> int:
    """Follow the worker's orders until the main process has ended; return its wait status."""
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    watched = [wake, control]
    while True:
        ended = reap()
        if main in ended:
            return ended[main]
        ready, _, _ = select.select(watched, [], [], 1.0)
        if wake in ready:
            os.read(wake, 512)
        if control in ready:
            order = os.read(control, 1)
            if order == b"T":
                signal_all(descendants(os.getpid()), signal.SIGTERM)
            else:
                signal_all(descendants(os.getpid()), signal.SIGKILL)
                if not order:
                    watched = [wake]


def main(arguments: list[str]) -> None:
    """Keep one agent."""
    control, status = int(arguments[0]), int(arguments[1])
    os.set_inheritable(control, False)
    os.set_inheritable(status, False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    become_subreaper()
    try:
        code = wait(start(arguments[3:]), control)
    except OSError as error:
        report: dict[str, object] = {"error": f"{arguments[3]}: {error.strerror}"}
    else:
        exited = os.WIFEXITED(code)
        report = {"exit": os.WEXITSTATUS(code)} if exited else {"signal": os.WTERMSIG(code)}
    kill_tree(os.getpid())
    try:
        os.write(status, json.dumps(report).encode() + b"\n")
    except OSError:
        return  # the worker has died; there is nobody to tell


if __name__ == "__main__":
    main(sys.argv[1:])
