"""A caller without a token: floods, silence, half requests, many connections. Others are served, memory is bounded.

Every test talks to a replica by sockets of its own. Growth of memory is bounded generously: what is proved is that it
does not follow what a stranger sends.
"""

import base64
import contextlib
import json
import resource
import socket
import struct
from itertools import islice

import pytest
from support.postgres import fast_directory, remove
from support.program import Cluster, until

from .conftest import Target, receive

MEGABYTE = 1 << 20
WRONG = "ado_wrong"
PING, TEXT, CLOSE = 9, 1, 8


def frame(data, opcode=TEXT):
    """Return a client's frame; its mask is zero."""
    size = len(data)
    if size < 126:
        head = bytes([0x80 | opcode, 0x80 | size])
    elif size < 65536:
        head = bytes([0x80 | opcode, 0x80 | 126]) + struct.pack(">H", size)
    else:
        head = bytes([0x80 | opcode, 0x80 | 127]) + struct.pack(">Q", size)
    return head + b"\0\0\0\0" + data


class RawSocket:
    """A WebSocket of raw bytes, which reads only on demand."""

    def __init__(self, target, token=None, *, params=False, headers=""):
        self.sock = socket.create_connection(("127.0.0.1", target.port), timeout=60)
        authorization = f"authorization: Bearer {token}\r\n" if token else ""
        self.sock.sendall(
            (
                f"GET /trpc{'?connectionParams=1' if params else ''} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
                "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
                f"sec-websocket-key: {base64.b64encode(bytes(16)).decode()}\r\n{authorization}{headers}\r\n"
            ).encode()
        )
        self.data = self.sock.makefile("rb")
        self.status = int(self.data.readline().split(b" ")[1])
        while self.data.readline().strip():
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.data.close()
        self.sock.close()

    def frames(self):
        """Yield opcode and data of each frame, to the end of the connection."""
        with contextlib.suppress(ConnectionResetError):
            while len(head := self.data.read(2)) == 2:
                size = head[1]
                if size == 126:
                    size = struct.unpack(">H", self.data.read(2))[0]
                elif size == 127:
                    size = struct.unpack(">Q", self.data.read(8))[0]
                yield head[0] & 15, self.data.read(size)

    def end(self):
        """Read to the end; return the error frames' reasons, and the close frame's code and reason."""
        reasons, close = [], (None, "")
        for opcode, data in self.frames():
            if opcode == CLOSE and data:
                close = struct.unpack(">H", data[:2])[0], data[2:].decode()
            elif opcode == TEXT and data.startswith(b"{"):
                error = json.loads(data).get("error")
                reasons.append(error and error["data"]["reason"])
        return reasons, close

    def flood(self, data, most):
        """Send the same bytes again and again without reading, until the replica ends it or enough is sent."""
        sent = 0
        self.sock.settimeout(3)
        with contextlib.suppress(OSError):
            while sent < most:
                self.sock.sendall(data)
                sent += len(data)
        return sent


@contextlib.contextmanager
def replica(dsn, home, *, files=None, **settings):
    """A replica with settings of its own; ``files`` is the hard limit of what it may open."""
    env = {f"ADO_{name.upper()}": str(value) for name, value in settings.items()}
    made = Cluster(dsn, home, env=env)
    try:
        if files is None:
            made.add_replicas(1)
        else:
            port = made.reserve_port()
            limit = (files, files)
            made.replicas.append(
                made.start(
                    "api", "--port", str(port), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit)
                )
            )
            made.urls.append(f"http://127.0.0.1:{port}")
            until(lambda: made._ready(made.urls[0]), "the replica to be ready")
        found = Target(made)
        yield found
        found.check()
    finally:
        made.close()


@pytest.fixture(scope="module")
def usual(shared_dsn):
    """A replica with the usual settings for every test that needs no other."""
    home = fast_directory()
    made = Cluster(shared_dsn, home)
    try:
        yield Target(made.add_replicas(1))
    finally:
        made.close()
        remove(home)


@pytest.fixture
def target(usual):
    usual.memory = usual.resident()
    yield usual
    usual.check()


def get(target, path="/trpc/tasks.list", token=None, headers=""):
    """Send a request on a connection of its own; return status and JSON."""
    authorization = f"authorization: Bearer {token}\r\n" if token else ""
    answer = target.raw(
        f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{authorization}{headers}connection: close\r\n\r\n".encode(),
        timeout=60,
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)


@pytest.mark.parametrize("ping", [frame(b"x" * 125, PING), frame(b"PING"), frame(b""), frame(b"", 2), frame(b"{")])
@pytest.mark.parametrize("who", ["stranger", "viewer"])
def test_a_flood_without_reading_fills_no_memory(target, who, ping):
    token = WRONG if who == "stranger" else target.cluster.make_token("viewer")
    with RawSocket(target, token) as peer:
        peer.flood(ping * (MEGABYTE // len(ping)), 64 * MEGABYTE)
        target.check(growth=48 * MEGABYTE)


def test_too_many_control_pings_end_the_socket_with_a_reason(target):
    with RawSocket(target, target.cluster.make_token("viewer")) as peer:
        peer.sock.sendall(frame(b"x", PING) * 2000)
        _, (code, reason) = peer.end()
    assert (code, reason) == (1008, "more than 100 pings a second")


def test_pings_behind_a_frame_that_ended_the_socket_are_discarded(target):
    """They come in the same bytes. The replica would log an error, which ``target`` looks for."""
    with RawSocket(target, target.cluster.make_token("viewer")) as peer:
        peer.sock.sendall(frame(b"\xff") + frame(b"x", PING))
        _, (code, _) = peer.end()
    assert code == 1007


def test_a_refused_socket_is_closed_after_any_frame(target):
    """Its pings do not keep it open, and neither does a call without end."""
    for data in (frame(b"PING"), frame(b"x", PING), frame(b'{"id":1,"method":"query","params":{"path":"a"}}')):
        with RawSocket(target, WRONG) as peer:

            def ended(peer=peer, data=data):
                try:
                    peer.sock.sendall(data)
                except OSError:
                    return True
                return False

            until(ended, "the replica to end the socket", 60)


def test_a_refused_socket_answers_under_the_ids_of_its_calls(target):
    with RawSocket(target, WRONG) as peer:
        peer.sock.sendall(frame(b'{"id":1,"method":"query","params":{"path":"tasks.list"}}'))
        reasons, (code, reason) = peer.end()
    assert reasons == ["token_invalid", "token_invalid"]
    assert (code, reason) == (1008, "the token is not known")


@pytest.mark.parametrize("opening", ["wrong token", "connectionParams"])
def test_a_frame_of_more_than_64_kib_is_refused_before_the_caller_is_known(target, opening):
    params = opening == "connectionParams"
    with RawSocket(target, None if params else WRONG, params=params) as peer:
        peer.flood(frame(b"[" + b"1," * MEGABYTE + b"1]"), 1)
        reasons, (code, _) = peer.end()
    assert reasons[-1] == "limit_exceeded"
    assert code == 1009


def test_a_valid_caller_may_send_a_large_frame_before_it_is_known(target):
    """It does not wait for anything; what it sends is read once its token has been looked up."""
    call = {"id": 1, "method": "mutation", "params": {"path": "tasks.create", "input": {"prompt": "x" * 900_000}}}
    with RawSocket(target, target.cluster.token) as peer:
        peer.sock.sendall(frame(json.dumps(call).encode()))
        answer = json.loads(next(data for opcode, data in peer.frames() if data.startswith(b"{")))
    assert answer["result"]["data"]["prompt"]


def test_fragments_and_pings_do_not_extend_the_time_to_authenticate(dsn, home):
    with replica(dsn, home, opening_seconds=1.0) as target, RawSocket(target, params=True) as peer:
        assert peer.status == 101
        _, (code, reason) = peer.end()
        assert (code, reason) == (1008, "no connectionParams came within 1 s")


def test_a_head_larger_than_64_kib_is_refused(target):
    answer = target.raw(b"GET /trpc/tasks.list HTTP/1.1\r\nhost: 127.0.0.1\r\nx: " + b"y" * 300_000 + b"\r\n\r\n")
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    assert get(target, headers="x: " + "y" * 50_000 + "\r\n")[0] == 401


def test_half_a_request_is_answered_and_closed_in_time(dsn, home):
    with replica(dsn, home, opening_seconds=1.0) as target:
        assert target.raw(b"GET /trpc/tasks.list HTTP/1.1\r\nhost: ", timeout=30).startswith(b"HTTP/1.1 408 ")
        assert target.raw(b"", timeout=30) == b""


def test_a_body_that_trickles_is_refused_in_time(dsn, home):
    with replica(dsn, home, body_seconds=1.0) as target:
        answer = target.raw(
            f"POST /trpc/tasks.create HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {target.cluster.token}\r\n"
            "content-type: application/json\r\ncontent-length: 100\r\n\r\n{".encode(),
            timeout=30,
        )
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["data"]["reason"] == "limit_exceeded"


def test_hundreds_of_half_requests_do_not_block_valid_callers(dsn, home):
    """They come from one address; the oldest is closed with a reason."""
    with replica(dsn, home, opening_connections=20) as target, contextlib.ExitStack() as stack:
        held = []
        for number in range(300):
            held.append(stack.enter_context(socket.create_connection(("127.0.0.1", target.port), timeout=60)))
            held[-1].sendall(b"GET /trpc/tasks.list HTTP/1.1\r\nhost: ")
            if number % 50 == 49:
                assert get(target, token=target.cluster.token)[0] == 200
        answer = receive(held[0], MEGABYTE)
        assert answer == b"" or b"too_many_connections" in answer


def test_a_replica_without_descriptors_answers_503_and_keeps_open_sockets(dsn, home):
    with replica(dsn, home, files=160) as target, contextlib.ExitStack() as stack:
        inside = stack.enter_context(RawSocket(target, target.cluster.token))
        peers = [inside]
        while peers[-1].status == 101 and len(peers) < 160:
            peers.append(stack.enter_context(RawSocket(target, target.cluster.token)))
        assert peers[-1].status == 503
        status, answer = get(target, token=target.cluster.token)
        assert (status, answer["error"]["data"]["reason"]) == (503, "too_many_connections")
        inside.sock.sendall(frame(b'{"id":1,"method":"query","params":{"path":"tasks.list"}}'))
        assert any(b'"items"' in data for _, data in zip(range(2), inside.frames(), strict=False) for data in data[1:])
        for peer in peers[1:]:
            peer.__exit__()
        until(lambda: get(target, token=target.cluster.token)[0] == 200, "room again")


def test_a_storm_of_connections_leaves_the_replica_listening(dsn, home):
    """More at once than it may open, faster than it can close them."""
    with replica(dsn, home, files=160) as target:
        for _ in range(3):
            with contextlib.ExitStack() as stack:
                for _ in range(500):
                    connection = stack.enter_context(socket.socket())
                    connection.setblocking(False)
                    connection.connect_ex(("127.0.0.1", target.port))
            until(lambda: get(target, token=target.cluster.token)[0] == 200, "an answer")


def test_one_address_has_a_limit(dsn, home):
    with replica(dsn, home, address_connections=10) as target, contextlib.ExitStack() as stack:
        found = [stack.enter_context(RawSocket(target, target.cluster.token)).status for _ in range(11)]
        assert found == [101] * 10 + [503]
        stack.close()
        until(lambda: get(target, token=target.cluster.token)[0] == 200, "room again")


def test_a_trusted_proxy_has_no_limit_of_its_own(dsn, home):
    with (
        replica(dsn, home, address_connections=10, trusted_proxies="127.0.0.0/8") as target,
        contextlib.ExitStack() as stack,
    ):
        found = [stack.enter_context(RawSocket(target, target.cluster.token)).status for _ in range(30)]
        assert found == [101] * 30


def test_wrong_tokens_are_answered_without_blocking_a_valid_caller(dsn, home):
    with replica(dsn, home, failed_sign_ins=3) as target:
        for _ in range(5):
            assert get(target, token=WRONG)[0] == 401
            assert get(target, token=target.cluster.token)[0] == 200


def test_a_frame_of_too_many_calls_ends_only_its_socket(target):
    call = '{"id":%d,"method":"query","params":{"path":"a"}}'
    with RawSocket(target, target.cluster.make_token("viewer")) as peer:
        peer.sock.sendall(frame(("[" + ",".join(call % number for number in range(80_000)) + "]").encode()))
        reasons, (code, reason) = peer.end()
    assert reasons == ["limit_exceeded"]
    assert (code, reason) == (1008, "Batch call exceeds maximum size")
    with RawSocket(target, target.cluster.make_token("viewer")) as peer:
        peer.sock.sendall(frame(("[" + ",".join(call % number for number in range(300)) + "]").encode()))
        answers = [json.loads(data) for _, data in islice(peer.frames(), 300)]
    assert {answer["id"] for answer in answers} == set(range(300))
    assert {answer["error"]["data"]["reason"] for answer in answers} == {"limit_exceeded"}
