"""What other processes of the same user see of a process that is hidden."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such thing")
SCRIPT = """
import ctypes, os, signal, sys
from app.core.process_hardening import hide_process

def become_somebody():
    if os.geteuid() == 0:  # root sees everything
        os.setgroups([])
        os.setresgid(12345, 12345, 12345)
        os.setresuid(12345, 12345, 12345)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # a change of user hides a process too

def hold(ready, how):
    become_somebody()
    if how != "plain":
        hide_process()
    os.write(ready, b"x")
    if how == "exec":
        os.execv("/bin/sleep", ["sleep", "60"])
    signal.pause()

def look(pid):
    become_somebody()
    for name in ("environ", "mem", "maps", "fd", "io", "auxv"):
        try:
            os.listdir(f"/proc/{pid}/fd") if name == "fd" else os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
            print(name)
        except PermissionError:
            pass

read, write = os.pipe()
pid = os.fork() or hold(write, sys.argv[1])
os.read(read, 1)
# In the middle of an exec the command line is empty, and the process is still hidden.
while sys.argv[1] == "exec" and not open(f"/proc/{pid}/cmdline", "rb").read().startswith(b"sleep"):
    pass
looker = os.fork()
if looker == 0:
    look(pid)
else:
    os.waitpid(looker, 0)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


@pytest.mark.parametrize(("how", "reached"), [("plain", 6), ("hidden", 0), ("exec", 6)])
def test_a_hidden_process_shows_nothing_and_what_it_executes_shows_all(how, reached):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, timeout=60, check=True, cwd="."
    )
    assert len(done.stdout.split()) == reached, done.stdout + done.stderr
