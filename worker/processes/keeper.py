"""The parent of one attempt's processes, which ends all of them.

Run as a script of its own, with the standard library alone:
``python -I -S keeper.py CHANNEL EVENTS HELD [ENVIRONMENT [USER]] -- ARGV…``, where ARGV follows file descriptors.
CHANNEL is a socket. The worker writes ``T`` to it (SIGTERM to the whole tree) or ``K`` (SIGKILL). Its end of file means
that the worker has died, and counts as ``K``. When the agent's main process has ended, the keeper kills the rest of the
tree and then writes one line of JSON: ``{"exit": N}``, ``{"signal": N}`` or
``{"error": TEXT, "errno": N}``, with ``"survivors": [TEXT…]`` where processes could not be killed.

The agent gets EVENTS as descriptor 8, because some shells can only name descriptors of one digit. HELD is a list of
descriptors, such as 9,12, that stay open in all of its processes; - stands for none. A keeper that is process 1 of its
namespace keeps HELD for itself.
ENVIRONMENT is a file with the agent's variables, each ended by a NUL byte: the keeper and the sandbox around it start
without them, because some, such as LD_PRELOAD, would run code of the job in them. USER is the number of the user and
the group that the agent becomes, where the keeper is root.

On Linux the keeper is a subreaper: what an agent starts in a session of its own, or double-forks, becomes the keeper's
child and is found. The tree has ended when the kernel says that no child is left, whatever /proc shows. On macOS there
is no such thing: children are followed through ``ps`` while their parents live, which is the best that can be done.

The agent may have the same user as the keeper. A socket cannot be opened through /proc as a pipe can, and a process
that is not dumpable does not show its descriptors to other processes of its user, so the agent cannot write a report.
"""

import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time

EVENTS_FD = 8
_FIRST_FREE_FD = 10
_STDERR = 2
ORDER_SIGNAL = getattr(signal, "SIGRTMIN", 34) + 5
"""Signals writes to the worker's pipes, see ``worker.output.write_order``; no other use."""
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_PR_SET_NO_NEW_PRIVS = 38
_LINUX = sys.platform == "linux"
_INIT = 1
"""The keeper's pid in a namespace of its own: when process 1 ends, the kernel kills all others."""
_KILL_SECONDS = 10.0
_REFUSED_SECONDS = 1.0  # a process of another user often ends by itself after the process that it serves
_SWIFT_ROUNDS = 200  # without a pause, to catch processes that fork and exit all the time
_PAUSE_SECONDS = 0.005
_WALK_ROUNDS = 20
_OOM_STEP = 500
_IGNORED = signal.valid_signals() - {
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGCONT),
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS),
}


def prctl(option: int, value: int) -> None:
    """Call prctl on Linux; do nothing elsewhere."""
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


def processes() -> dict[int, tuple[int, int, int]]:
    """Return every process's parent, group and session, those of zombies too."""
    if not _LINUX:
        return _listed()
    table: dict[int, tuple[int, int, int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib is not worth its import here
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    # the command in parentheses may contain any characters, so read what follows it
                    _, parent, group, session = file.read().rpartition(b")")[2].split()[:4]
            except (OSError, ValueError):
                continue
            table[int(name)] = int(parent), int(group), int(session)
    return table


def _listed() -> dict[int, tuple[int, int, int]]:
    listing = subprocess.run(["/bin/ps", "-axo", "pid=,ppid=,pgid="], capture_output=True, text=True, check=False)
    rows = [[int(word) for word in line.split()] for line in listing.stdout.splitlines()]
    return {pid: (parent, group, group) for pid, parent, group in rows}


def descendants(root: int) -> list[int]:
    """Return the descendants of a process, parents before children."""
    children: dict[int, list[int]] = {}
    for pid, (parent, _, _) in processes().items():
        children.setdefault(parent, []).append(pid)
    result: list[int] = []
    todo = [root]
    while todo:
        todo = [child for pid in todo for child in children.get(pid, ())]
        result += todo
    return result


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, by a signal or a tracer."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False


def children() -> list[int]:
    """Return this process's own children. The kernel lists them for its first thread, which adopts orphans."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:  # noqa: PTH123
            return [int(word) for word in file.read().split()]
    except OSError:
        return descendants(os.getpid())


def signal_all(pids: list[int], number: int) -> set[int]:
    """Send a signal to processes that may have ended; return those that may not be signalled."""
    refused = set()
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError as error:
            if error.errno == errno.EPERM:
                refused.add(pid)
            elif error.errno != errno.ESRCH:
                raise
    return refused


def kill_all(pids: list[int]) -> set[int]:
    """Kill processes with their groups; return those that may not be killed.

    A signal to a group also reaches a process that is being forked meanwhile.
    """
    own = os.getpgid(0)
    for pid in pids:
        try:
            group = os.getpgid(pid)
            if group != own:
                os.killpg(group, signal.SIGKILL)
        except OSError as error:
            if error.errno not in (errno.ESRCH, errno.EPERM):
                raise
    return signal_all(pids, signal.SIGKILL)


def kill_tree() -> list[str]:
    """Kill every descendant, and those forked meanwhile; return descriptions of those that could not be killed."""
    began = killable_at = time.monotonic()
    rounds = 0
    while True:
        if not reap()[1]:
            return []
        pids = descendants(os.getpid()) if rounds % _WALK_ROUNDS == 0 else children()
        refused = kill_all(pids)
        now = time.monotonic()
        if len(refused) < len(pids):
            killable_at = now
        if now - killable_at > _REFUSED_SECONDS or now - began > _KILL_SECONDS:
            reap()
            return [describe(pid) for pid in descendants(os.getpid())]
        rounds += 1
        select.select([], [], [], 0 if rounds < _SWIFT_ROUNDS and len(refused) < len(pids) else _PAUSE_SECONDS)


def describe(pid: int) -> str:
    """Return a process's name, pid and user, for a person."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:  # noqa: PTH123
            name = file.read(64).strip().decode("utf-8", "replace")
        return f"{name} (pid {pid}, user {os.stat(f'/proc/{pid}').st_uid})"  # noqa: PTH116
    except OSError:
        return f"pid {pid}"


def reap() -> tuple[dict[int, int], bool]:
    """Reap ended children; return the wait status by pid, and whether any child is left."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, False
        if pid == 0:
            return ended, True
        ended[pid] = status


def start(argv: list[str], env: dict[bytes, bytes], channel: int, events: int, held: list[int], user: int = -1) -> int:
    """Start the agent in a session of its own. Raises OSError if it cannot be executed."""
    read, write = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(read)
        os.close(write)
        raise
    if pid == 0:
        try:
            write = fcntl.fcntl(write, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD)
            os.close(channel)
            _become_agent(argv, env, events, held, user)
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


def _become_agent(argv: list[str], env: dict[bytes, bytes], events: int, held: list[int], user: int) -> None:
    """Turn a fork of the keeper into the agent."""
    os.setsid()
    prctl(_PR_SET_DUMPABLE, 1)  # only root may write the /proc files of a process that is not dumpable
    _prefer_for_oom_kill()
    if user >= 0:
        _become_user(user)
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of the user clears it, and dumpable too
    prctl(_PR_SET_DUMPABLE, 1)
    _inherit_nothing()
    events = fcntl.fcntl(events, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD)
    for fd in held if os.getppid() != _INIT else ():  # in a sandbox the agent could leave it through a directory
        fcntl.fcntl(fd, fcntl.F_DUPFD, _FIRST_FREE_FD)
    os.dup2(events, EVENTS_FD)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGCHLD, signal.SIGIO):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the worker blocks ORDER_SIGNAL, and children inherit that
    os.execvpe(argv[0], argv, env)


def _become_user(user: int) -> None:
    """Give up root for a user and the group of the same number, for good."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _inherit_nothing() -> None:
    """Let exec close every descriptor but the standard ones; some were inherited from the worker."""
    for name in os.listdir("/proc/self/fd" if _LINUX else "/dev/fd"):  # noqa: PTH208
        try:
            if int(name) > _STDERR:
                os.set_inheritable(int(name), False)
        except OSError:
            continue  # the descriptor of the listing itself is closed by now


def _prefer_for_oom_kill() -> None:
    """Let the kernel kill the job rather than its worker when memory runs out."""
    try:
        with open("/proc/self/oom_score_adj", "r+") as file:  # noqa: PTH123
            score = int(file.read())
            file.seek(0)
            file.write(str(min(1000, score + _OOM_STEP)))
    except (OSError, ValueError):
        return  # not Linux, or not allowed here: the job runs with the default


def wait(main: int, channel: int) -> int | None:
    """Obey the worker's orders until the main process has ended; return its wait status.

    Return None if it could not be killed.
    """
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    watched = [wake, channel]
    killed_at: float | None = None
    while True:
        ended, _ = reap()
        if main in ended:
            return ended[main]
        if killed_at is not None and time.monotonic() - killed_at > _KILL_SECONDS:
            return None
        ready, _, _ = select.select(watched, [], [], 1.0)
        if wake in ready:
            os.read(wake, 512)
        if channel in ready:
            order = _order(channel)
            if order == b"T":
                signal_all(descendants(os.getpid()), signal.SIGTERM)
            else:
                kill_all(descendants(os.getpid()))
                killed_at = killed_at or time.monotonic()
                if not order:
                    watched = [wake]


def _order(channel: int) -> bytes:
    try:
        return os.read(channel, 1)
    except ConnectionError:  # the worker died with unread data
        return b""


def keep(
    argv: list[str], env: dict[bytes, bytes], channel: int, events: int, held: list[int], user: int
) -> dict[str, object]:
    """Run an agent until nothing of it is left; return the report."""
    try:
        code = wait(start(argv, env, channel, events, held, user), channel)
    except OSError as error:
        report: dict[str, object] = {"error": f"{argv[0]}: {error.strerror}", "errno": error.errno}
    else:
        if code is None:
            report = {"signal": signal.SIGKILL}
        else:
            report = {"exit": os.WEXITSTATUS(code)} if os.WIFEXITED(code) else {"signal": os.WTERMSIG(code)}
    if survivors := kill_tree():
        report["survivors"] = survivors
    return report


def read_environment(fd: int) -> dict[bytes, bytes]:
    """Read variables from a file and close it."""
    with open(fd, "rb") as file:
        entries = file.read().split(b"\0")
    return {name: value for name, mark, value in (entry.partition(b"=") for entry in entries) if mark}


def main(arguments: list[str]) -> None:
    """Run the keeper of one agent."""
    mark = arguments.index("--")
    channel, events = int(arguments[0]), int(arguments[1])
    held = [int(word) for word in arguments[2].split(",") if word != "-"]
    more = [int(word) for word in arguments[3:mark]]
    variables = read_environment(more[0]) if more else dict(os.environb)
    user = more[1] if len(more) > 1 else -1
    for fd in (channel, events, *held):
        os.set_inheritable(fd, False)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    become_subreaper()
    prctl(_PR_SET_DUMPABLE, 0)
    # SIGCONT, because the agent may have stopped the keeper, which must notice the worker's end; process 1 just ends
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if os.getpid() == _INIT else signal.SIGCONT)
    report = keep(arguments[mark + 1 :], variables, channel, events, held, user)
    try:
        os.write(channel, json.dumps(report).encode() + b"\n")
    except OSError:
        return  # the worker has died, so nobody reads the report


if __name__ == "__main__":
    main(sys.argv[1:])
