"""TLS on the replicas' own sockets: every transport, renewed certificates, and the certificates of workers."""

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import sys
from urllib.parse import quote

import pytest
from cryptography import x509
from support.certificates import Authority
from support.program import Cluster, until, write_token

from app.rpc.client import CallError, Client, HttpClient, NoAnswer
from app.rpc.client.tls import Trust


class Secured:
    """Two replicas that speak TLS; ``urls`` are their origins."""

    def __init__(self, cluster, directory, *words):
        self.cluster = cluster
        self.authority = Authority(directory)
        self.certificate, self.key, self.serial = self.authority.issue("server")
        self.trust = Trust(str(self.authority.ca))
        self.urls = []
        for _ in range(2):
            port = self.cluster.reserve_port()
            files = ("--tls-cert", str(self.certificate), "--tls-key", str(self.key))
            self.cluster.start("api", "--port", str(port), *files, *words)
            self.urls.append(f"https://127.0.0.1:{port}")
        for url in self.urls:
            until(lambda url=url: self._ready(url), f"{url} to be ready", 60)

    def connection(self, url, trust=None, timeout=30):
        host = url.removeprefix("https://")
        return http.client.HTTPSConnection(host, timeout=timeout, context=(trust or self.trust).context())

    def _ready(self, url):
        with contextlib.closing(self.connection(url, timeout=5)) as connection:
            try:
                connection.request("GET", "/readyz")
                with connection.getresponse() as response:
                    return response.status == 200
            except OSError:
                return False

    def serial_of(self, url):
        """Return the serial number of the certificate that a new connection gets."""
        with contextlib.closing(self.connection(url)) as connection:
            connection.connect()
            return x509.load_der_x509_certificate(connection.sock.getpeercert(binary_form=True)).serial_number

    def ado(self, *words, check=None, env=None, ca=True):
        extra = {"ADO_URL": ",".join(self.urls), **({"ADO_CA": str(self.authority.ca)} if ca else {}), **(env or {})}
        done = subprocess.run(
            [sys.executable, "-P", "-m", "cli", *words],
            env={**self.cluster.client_env(), **extra},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
            cwd="/",
        )
        assert check in (None, done.returncode), (done.returncode, done.stdout, done.stderr)
        return done

    def worker(self, name, *words, env=None):
        file = self.cluster.home / f"{name}.token"
        write_token(file, self.cluster.make_token("worker", worker_id=name))
        return self.cluster.start(
            "worker", "--id", name, "--url", ",".join(self.urls), "--token-file", str(file),
            "--work-dir", str(self.cluster.home / "work"), "--ca", str(self.authority.ca), *words, env=env,
        )  # fmt: skip


@pytest.fixture
def bare(dsn, tmp_path):
    """A cluster without replicas."""
    found = Cluster(dsn, tmp_path)
    yield found
    found.close()


@pytest.fixture
def secured(bare, tmp_path):
    return Secured(bare, tmp_path / "pki")


def test_a_worker_and_every_command_work_over_tls(secured):
    secured.worker("w")
    done = secured.ado("run", "--remote", "--agent", "shell", "echo hello; ado kv set k 1 && ado kv get k", check=0)
    assert done.stdout == b"hello\n1\n"
    assert b"clear text" not in done.stderr
    done = secured.ado(
        "tasks", "list", "-o", "json", ca=False, env={"SSL_CERT_FILE": str(secured.authority.ca)}, check=0
    )
    assert json.loads(done.stdout)["items"][0]["status"] == "succeeded"
    secured.ado("tasks", "list", "--ca", str(secured.authority.ca), ca=False, check=0)
    assert "✗".encode() not in secured.ado("doctor", "--ca", str(secured.authority.ca), ca=False, check=0).stdout
    secured.ado("doctor", "--latency", "--ca", str(secured.authority.ca), ca=False, check=0)


async def test_sockets_and_event_streams_go_over_tls(secured):
    with contextlib.closing(HttpClient(secured.urls, secured.cluster.token, trust=secured.trust)) as client:
        task = client.mutate("tasks.create", {"prompt": "true", "agent": "nobody"})["taskId"]
    async with Client(secured.urls, secured.cluster.token, trust=secured.trust) as client:
        async for item in client.subscribe("stream.taskEvents", {"taskId": task}):
            assert item.data["type"] == "created"
            break
    with contextlib.closing(secured.connection(secured.urls[1])) as connection:
        headers = {"authorization": f"Bearer {secured.cluster.token}"}
        connection.request(
            "GET", f"/trpc/stream.taskEvents?input={quote(json.dumps({'taskId': task}))}", headers=headers
        )
        answer = connection.getresponse()
        lines = [answer.readline() for _ in range(8)]
    assert any(b'"type":"created"' in line for line in lines)


def test_an_unknown_authority_is_reported_with_the_next_step(secured):
    other = Authority(secured.cluster.home / "other")
    for words in ((), ("--ca", str(other.ca))):
        done = secured.ado("tasks", "list", *words, ca=False)
        assert done.returncode == 125
        assert b"not trusted" in done.stderr
        assert b"--ca" in done.stderr
    done = secured.ado("tasks", "list", "--ca", str(secured.cluster.home / "none.pem"), ca=False)
    assert done.returncode == 2
    assert b"none.pem" in done.stderr
    assert b"ado login URL --ca FILE" in done.stderr  # a login may name the file, which has gone since
    plain = [url.replace("https", "http") for url in secured.urls]
    with contextlib.closing(HttpClient(plain, "x")) as client, pytest.raises(NoAnswer):
        client.query("tasks.list")


async def test_a_socket_reports_an_untrusted_server(secured):
    told = []
    client = Client(secured.urls, "x", on_state=told.append, first_contact_seconds=0.1)
    async with client:
        with pytest.raises(NoAnswer, match="not trusted"):
            async with asyncio.timeout(60):
                await client.query("tasks.list")


def test_a_renewed_certificate_serves_new_connections_and_keeps_old_ones(secured):
    url = secured.urls[0]
    with contextlib.closing(secured.connection(url)) as old:
        old.connect()
        assert secured.serial_of(url) == secured.serial
        _, _, serial = secured.authority.issue("server")
        headers = {"authorization": f"Bearer {secured.cluster.token}"}

        def renewed():
            old.request("GET", "/trpc/tasks.list", headers=headers)
            assert old.getresponse().read()
            return secured.serial_of(url) == serial

        until(renewed, "the new certificate", 60)
        sock = old.sock
        assert x509.load_der_x509_certificate(sock.getpeercert(binary_form=True)).serial_number == secured.serial


def test_a_mismatched_certificate_and_key_keep_the_old_ones(secured):
    key = secured.key.read_bytes()
    secured.key.write_bytes(b"nonsense")
    log = secured.cluster.home / "api-0.log"
    until(lambda: "cannot be used; the old one stays" in log.read_text(), "the warning", 60)
    assert secured.serial_of(secured.urls[0]) == secured.serial
    secured.key.write_bytes(key)
    until(lambda: "the certificate was renewed" in log.read_text(), "the renewal", 60)
    assert secured.serial_of(secured.urls[0]) == secured.serial


def register(urls, token, trust):
    with contextlib.closing(HttpClient(urls, token, trust=trust)) as client:
        client.mutate("workers.register", {"workerId": "thief"})


def test_workers_must_present_a_certificate_where_their_ca_is_named(bare, tmp_path):
    workers = Authority(tmp_path / "workers", "workers")
    secured = Secured(bare, tmp_path / "pki", "--tls-client-ca", str(workers.ca))
    secured.ado("tasks", "list", check=0)  # people need none
    without = secured.worker("without")
    assert without.wait(60) == 1
    log = (bare.home / "worker-2.log").read_text()
    assert "--client-cert" in log
    certificate, key, _ = workers.issue("w")
    secured.worker("with", "--client-cert", str(certificate), "--client-key", str(key))
    done = secured.ado("run", "--remote", "--agent", "shell", "ado kv set k 1; echo done", check=0)
    assert done.stdout == b"done\n"
    token = bare.make_token("worker", worker_id="thief")
    with pytest.raises(CallError) as refused:
        register(secured.urls, token, secured.trust)
    assert refused.value.reason == "certificate_missing"
    foreign, foreign_key, _ = secured.authority.issue("foreign")
    trust = Trust(str(secured.authority.ca), str(foreign), str(foreign_key))
    with pytest.raises(NoAnswer):
        register(secured.urls, token, trust)


def test_a_peer_that_does_not_finish_its_handshake_is_cut(secured):
    port = int(secured.urls[0].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as silent:
        assert silent.recv(1) == b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as garbage:
        garbage.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
        with contextlib.suppress(ConnectionResetError):
            while garbage.recv(4096):
                pass
    assert secured.serial_of(secured.urls[0]) == secured.serial


def test_old_versions_of_tls_are_refused(secured):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(str(secured.authority.ca))
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    connection = http.client.HTTPSConnection(secured.urls[0].removeprefix("https://"), timeout=60, context=old)
    with contextlib.closing(connection), pytest.raises((ssl.SSLError, ConnectionError)):
        connection.connect()


@pytest.mark.parametrize("broken", ["no certificate", "no key", "other key", "no ca", "key alone"])
def test_a_replica_names_the_file_that_it_cannot_use(bare, tmp_path, broken):
    authority = Authority(tmp_path / "pki")
    certificate, key, _ = authority.issue("server")
    words = ["--tls-cert", str(certificate), "--tls-key", str(key)]
    if broken == "no certificate":
        certificate.write_text("")
    elif broken == "no key":
        key.unlink()
    elif broken == "other key":
        key.write_bytes(authority.issue("other")[1].read_bytes())
    elif broken == "no ca":
        words += ["--tls-client-ca", str(tmp_path / "none")]
    else:
        words = ["--tls-key", str(key)]
    command = [*bare.program, "api", "--port", "0", *words]
    done = subprocess.run(command, env=bare.env, capture_output=True, timeout=120, check=False, cwd="/")
    assert done.returncode == 2, done.stderr
    assert b"ADO_TLS_CERT" in done.stderr or str(tmp_path).encode() in done.stderr
    assert b"Traceback" not in done.stderr
