"""One browser of this user gets the address, and nobody else."""

import os
import socket
import subprocess
import urllib.error
import urllib.request

import pytest

from cli.remote.handover import Handover, owner_of

ADDRESS = "http://127.0.0.1:7421/tasks/task-1#code=secret"
ASK = 'exec 3<>/dev/tcp/127.0.0.1/$1; printf "GET /$2 HTTP/1.0\\r\\n\\r\\n" >&3; cat <&3'


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def asked(address):
    """Return the status of an answer, and where it leads."""
    try:
        with urllib.request.build_opener(NoRedirect).open(address, timeout=10) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Location"]


def test_the_first_visit_is_led_to_the_address_and_a_second_one_is_not():
    with Handover(ADDRESS) as handover:
        assert "secret" not in handover.address
        assert asked(handover.address.rpartition("/")[0] + "/") == (404, None)
        assert not handover.wait(0)
        silent = socket.create_connection(("127.0.0.1", int(handover.address.split(":")[2].split("/")[0])))
        assert asked(handover.address) == (302, ADDRESS)
        assert handover.wait(0)
        assert asked(handover.address) == (410, None)
        silent.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_who_knows_the_listener_is_refused_and_the_browser_still_comes():
    with Handover(ADDRESS) as handover:
        port, _, path = handover.address.rpartition(":")[2].partition("/")
        command = ["bash", "-c", ASK, "ask", port, path]
        done = subprocess.run(command, user=65534, cwd="/", capture_output=True, text=True, timeout=60, check=True)
        assert " 403 " in done.stdout
        assert "secret" not in done.stdout
        assert not handover.wait(0)
        assert asked(handover.address) == (302, ADDRESS)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_owner_of_a_socket_is_found(family):
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(family) as near:
        host, port = listener.getsockname()
        near.connect((host, port) if family == socket.AF_INET else (f"::ffff:{host}", port))
        with listener.accept()[0] as far:
            address = far.getpeername()
            assert owner_of(address, far.getsockname()) == os.geteuid()
            assert owner_of(("127.0.0.1", 1), far.getsockname()) is None
