"""Ports of jobs: no two jobs share one, programs of the machine keep theirs, and the kernel frees them."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from support.program import until

from worker.ports import COUNT, bases, ephemeral_ports, parse_ports, reserved

START = 10000 + os.getpid() % 150 * 63  # other tests run beside these; jobs get ports from 20000 on
FREE = list(bases(range(START, START + 63), ephemeral_ports()))  # room for three jobs


@pytest.mark.parametrize("text", ["", "1-2-3", "20000", "29999-20000", "80-2000", "20000-20010", "20000-99999", "²-9"])
def test_what_is_no_range_of_ports_is_refused(text):
    with pytest.raises(ValueError, match="ports"):
        parse_ports(text)


def test_no_range_reaches_into_the_ephemeral_ports():
    assert bases(range(20000, 20100), range(20030, 20050)) == [20000, 20063]
    assert bases(range(20000, 20042), range(32768, 61000)) == [20000, 20021]
    assert bases(range(33000, 34000), range(32768, 61000)) == []


def test_two_jobs_get_ports_apart_and_a_third_one_what_is_left():
    with reserved(FREE) as (one, _), reserved(FREE) as (two, _), reserved(FREE) as (three, _):
        assert {one, two, three} == set(FREE)
        assert min(abs(one - two), abs(two - three), abs(one - three)) > COUNT
        with pytest.raises(OSError, match="all 3 ranges of ADO_JOB_PORTS are in use"), reserved(FREE):
            pass
    with reserved([one]) as (again, _):
        assert again == one


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, ""), (socket.AF_INET6, "::1")]
)
def test_ports_on_which_a_program_listens_are_not_lent(family, host):
    program = socket.create_server((host, FREE[1] + 7), family=family)
    with program, reserved(FREE) as (one, _), reserved(FREE) as (two, _):
        assert {one, two} == {FREE[0], FREE[2]}


def test_ports_of_connections_that_are_ending_are_lent_again():
    """A server that closes first leaves its port in TIME_WAIT for a minute."""
    address = ("127.0.0.1", FREE[0])
    with socket.create_server(address) as server, socket.create_connection(address) as client:
        server.accept()[0].close()
        assert client.recv(1) == b""
    with reserved([FREE[0]]) as (base, _):
        assert base == FREE[0]


HOLDER = """
import os, subprocess, sys
from worker.ports import reserved
with reserved([int(sys.argv[1])]) as (base, guard):
    child = subprocess.Popen(["sleep", "600"], pass_fds=[guard.fileno()], stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    sys.stdin.read()
"""


def is_free(base):
    try:
        with reserved([base]):
            return True
    except OSError:
        return False


def test_a_killed_worker_frees_its_ports_with_the_last_process_of_the_job():
    command = [sys.executable, "-P", "-c", HOLDER, str(FREE[0])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        child = int(worker.stdout.readline())
        worker.kill()
        worker.wait()
        assert not is_free(FREE[0])
        os.kill(child, signal.SIGKILL)
        until(lambda: is_free(FREE[0]), "the ports to be free")
