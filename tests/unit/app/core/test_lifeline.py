"""The lifeline is neither cut nor lost by what others do to the shared pipe."""

import os
import signal
import subprocess
import sys
import threading

from app.core.lifeline import on_end

WATCHER = f"""
import os, sys, time
sys.path[:0] = {sys.path!r}
from app.core.lifeline import on_end
on_end(int(sys.argv[1]), lambda: os._exit(7))
print("watching", flush=True)
time.sleep(60)
"""


def test_a_watcher_sees_the_end_of_the_writer():
    """The pipe is made non-blocking by another of its readers, and the watcher is stopped and goes on."""
    read, write = os.pipe()
    watcher = subprocess.Popen([sys.executable, "-c", WATCHER, str(read)], pass_fds=[read], stdout=subprocess.PIPE)
    try:
        assert watcher.stdout.readline() == b"watching\n"
        os.set_blocking(read, False)
        watcher.send_signal(signal.SIGSTOP)
        os.waitpid(watcher.pid, os.WUNTRACED)
        watcher.send_signal(signal.SIGCONT)
        assert watcher.poll() is None
        os.close(write)
        assert watcher.wait(60) == 7
    finally:
        watcher.kill()
        watcher.wait()
        watcher.stdout.close()
        os.close(read)


def test_written_bytes_are_not_an_end():
    read, write = os.pipe()
    os.set_blocking(read, False)
    ended = threading.Event()
    on_end(read, ended.set)
    os.write(write, b"xy")
    assert not ended.wait(0.2)
    os.close(write)
    assert ended.wait(60)
    os.close(read)
