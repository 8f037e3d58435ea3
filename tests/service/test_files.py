"""The procedures files.*: files are sent to one replica and fetched from the other, over broken connections."""

import base64
import hashlib
import os

import pytest
from support.program import until
from support.proxy import Proxy

from app.rpc.client import CallError, HttpClient, Transfer
from db import tokens


@pytest.fixture
def calls(cluster):
    """Make clients of the second replica for a role."""
    made = []

    def make(role, **values):
        client = HttpClient([cluster.urls[1]], cluster.make_token(role, **values))
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


def refused(call, path, **value):
    with pytest.raises(CallError) as caught:
        call(path, value)
    return caught.value.code, caught.value.reason


def begin(client, content, number=1, **more):
    digest = hashlib.sha256(content).hexdigest()
    wish = {"fileId": f"file-{number:032x}", "kind": "base", "size": len(content), "sha256": digest, **more}
    return client.mutate("files.begin", wish)


class Cuts:
    """Cuts all connections of a proxy at every fifth call of a client, before each body and within every second."""

    def __init__(self, proxy, client):
        self.calls = self.bodies = 0
        self._proxy = proxy
        client.put, client.read_range = self._before(client.put), self._within(client.read_range)
        client.mutate, client.query = self._sometimes(client.mutate), self._sometimes(client.query)

    def _sometimes(self, call):
        def cut_sometimes(path, value):
            self.calls += 1
            if self.calls % 5 == 0:
                self._proxy.cut()
            return call(path, value)

        return cut_sometimes

    def _within(self, call):
        def cut_first(*range_of_file):
            self.bodies += 1
            for number, part in enumerate(call(*range_of_file)):
                if number == 1 and self.bodies % 2:
                    self._proxy.cut()
                yield part

        return cut_first

    def _before(self, call):
        def put(*part):
            self.bodies += 1
            self._proxy.cut()
            call(*part)

        return put


@pytest.mark.parametrize("way", ["bodies", "pieces"])
def test_a_file_survives_cut_connections_byte_for_byte(cluster, tmp_path, monkeypatch, way):
    """Every few pieces the load balancer cuts all connections; replicas without bodies get pieces in calls."""
    if way == "pieces":
        monkeypatch.setattr("app.rpc.client.files._target", lambda file_id: f"/no-bodies/{file_id}")
    content = os.urandom(20 * 1024 * 1024 + 12345)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(content)
    with Proxy(cluster.urls) as proxy:
        client = HttpClient([proxy.url], cluster.token)
        cuts = Cuts(proxy, client)
        transfer = Transfer(client, patience=30, limit=1 << 30)
        file_id = transfer.send(source, kind="base")
        digest = hashlib.sha256(content).hexdigest()
        transfer.fetch({"fileId": file_id, "size": len(content), "sha256": digest}, target)
        with pytest.raises(ValueError, match="differs from the announced one"):
            transfer.fetch({"fileId": file_id, "size": len(content), "sha256": "0" * 64}, tmp_path / "other")
        client.close()
    assert target.read_bytes() == content
    made = cuts.bodies > 10 and cuts.calls == 2 if way == "bodies" else cuts.calls > 44
    assert made, "every cut costs a repetition"


def test_a_partial_upload_resumes_and_a_wrong_digest_is_refused(cluster, calls):
    operator = calls("operator")
    content = b"a" * 1024 * 1024 + b"b"
    begun = begin(operator, content)
    assert begun == {"fileId": begun["fileId"], "received": 0, "chunkBytes": 1024 * 1024}
    piece = {"fileId": begun["fileId"], "offset": 0, "data": base64.b64encode(content[:-1]).decode()}
    operator.mutate("files.write", piece)
    assert refused(operator.mutate, "files.commit", fileId=begun["fileId"]) == ("BAD_REQUEST", "file_mismatch")
    assert begin(operator, content)["received"] == 1024 * 1024
    assert refused(operator.mutate, "files.write", **{**piece, "offset": 5}) == ("BAD_REQUEST", "invalid_input")
    assert refused(operator.mutate, "files.write", **{**piece, "data": "?"}) == ("BAD_REQUEST", "invalid_input")
    last = {"fileId": begun["fileId"], "offset": 1024 * 1024}
    operator.mutate("files.write", {**last, "data": base64.b64encode(b"c").decode()})
    assert refused(operator.mutate, "files.commit", fileId=begun["fileId"]) == ("BAD_REQUEST", "file_mismatch")
    operator.mutate("files.write", {**last, "data": base64.b64encode(b"b").decode()})
    operator.mutate("files.commit", {"fileId": begun["fileId"]})
    operator.mutate("files.commit", {"fileId": begun["fileId"]})


def test_a_file_over_the_limit_is_refused_with_both_sizes(calls):
    operator = calls("operator")
    with pytest.raises(CallError) as caught:
        operator.mutate(
            "files.begin", {"fileId": "file-" + "1" * 32, "kind": "base", "size": 2**40, "sha256": "0" * 64}
        )
    assert caught.value.reason == "limit_exceeded"
    assert str(2**40) in caught.value.message
    assert str(256 * 1024 * 1024) in caught.value.message


@pytest.mark.parametrize("way", ["credential", "worker's token"])
def test_a_worker_reaches_only_files_of_its_jobs(cluster, calls, way):
    """By the credential of its attempt, or where its claim asked for none, by its token."""
    cluster.add_worker("w1")
    operator, viewer = calls("operator"), calls("viewer")
    worker, other = calls("worker", worker_id="w1"), calls("worker", worker_id="w2")
    begin(operator, b"", 1)
    operator.mutate("files.commit", {"fileId": f"file-{1:032x}"})
    cluster.ado("run", "--remote", "--detach", "--agent", "shell", "sleep 600", check=0)
    until(lambda: cluster.task("task-1")["status"] == "running", "task-1 to run")
    cluster.sql("update ado.files set task_id = 1 returning 1")
    secret = tokens.secret()
    digest = tokens.digest(secret) if way == "credential" else None
    cluster.sql("update ado.jobs set credential_digest = %s returning 1", digest)
    mine = HttpClient([cluster.urls[1]], secret) if way == "credential" else worker
    fence = {"workerId": "w1", "jobId": "task-1/0", "attempt": 1}

    def kinds(client):
        return {item["kind"] for item in client.query("files.list", {"taskId": "task-1"})["items"]}

    for number, kind in ((2, "result"), (3, "checkpoint")):
        begin(mine, b"", number, kind=kind, **fence)
        mine.mutate("files.commit", {"fileId": f"file-{number:032x}"})
    assert kinds(mine) == {"base", "result", "checkpoint"}
    assert (kinds(other), kinds(viewer), kinds(operator)) == (set(), {"result"}, {"result", "base"})
    for number in (1, 2, 3):
        wish = {"fileId": f"file-{number:032x}"}
        mine.query("files.read", wish)
        assert refused(other.query, "files.read", **wish) == ("NOT_FOUND", "no_such_file")
    assert refused(viewer.query, "files.read", fileId=f"file-{3:032x}") == ("NOT_FOUND", "no_such_file")
    digest = hashlib.sha256(b"").hexdigest()
    wish = {"fileId": "file-" + "9" * 32, "kind": "result", "size": 0, "sha256": digest}
    assert refused(other.mutate, "files.begin", **wish, **fence) == ("FORBIDDEN", "forbidden")
    assert refused(operator.mutate, "files.begin", **wish, **fence) == ("FORBIDDEN", "forbidden")
    assert refused(mine.mutate, "files.begin", **{**wish, "kind": "base"}) == ("FORBIDDEN", "forbidden")
    late = {**fence, "attempt": 2}
    found = refused(mine.mutate, "files.begin", **wish, **late)
    assert found == (("FORBIDDEN", "forbidden") if way == "credential" else ("CONFLICT", "lease_lost"))
    if way == "credential":
        assert kinds(worker) == set()
        assert refused(worker.query, "files.read", fileId=f"file-{2:032x}") == ("NOT_FOUND", "no_such_file")
        assert refused(worker.mutate, "files.begin", **wish, **fence) == ("FORBIDDEN", "credential_missing")
        assert refused(worker.mutate, "files.commit", fileId=f"file-{2:032x}") == ("NOT_FOUND", "no_such_file")
        mine.close()
    assert refused(other.mutate, "files.commit", fileId=f"file-{2:032x}") == ("NOT_FOUND", "no_such_file")


@pytest.mark.parametrize("url", ["https://me:secret@example.org/x", "https://token@example.org/x", "ssh://me:pw@h/x"])
def test_an_address_with_credentials_is_refused(calls, url):
    workspace = {"commit": "1" * 40, "remote": {"url": url, "commit": "1" * 40}}
    operator = calls("operator")
    found = refused(operator.mutate, "tasks.create", agent="shell", prompt="true", workspace=workspace)
    assert found == ("BAD_REQUEST", "invalid_input")


def test_a_task_cannot_start_from_a_missing_file(calls):
    wish = {"agent": "shell", "prompt": "true", "workspace": {"fileId": "file-" + "7" * 32, "commit": "1" * 40}}
    operator = calls("operator")
    assert refused(operator.mutate, "tasks.create", **wish) == ("NOT_FOUND", "no_such_file")
