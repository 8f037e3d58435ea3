"""The copy of the pods survives a server, or a proxy before it, that answers nonsense."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.program import until

from app.spawner.backends.kubernetes import Cluster
from app.spawner.backends.pod_watch import PodWatch
from app.spawner.backends.rate_limit import TokenBucket

LIST = {"metadata": {"resourceVersion": "1"}, "items": []}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server whose answers to lists and watches a test sets; it counts both."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            kind = "watch" if "watch=true" in self.path else "list"
            found.counts[kind] += 1
            self.send_response(200)
            self.end_headers()
            self.wfile.write(found.answers[kind])

        def log_message(self, *_):
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.counts, found.answers = {"list": 0, "watch": 0}, {"list": json.dumps(LIST).encode(), "watch": b""}
    thread = threading.Thread(target=found.serve_forever, args=(0.02,))
    thread.start()
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{found.server_address[1]}"}}],
        "users": [{"name": "c", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c", "namespace": "n"}}],
    }  # fmt: skip
    (tmp_path / "config").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


@pytest.mark.parametrize(
    ("kind", "junk"),
    [
        ("watch", b"no JSON\n"),
        ("watch", b'{"type": "ADDED"}\n'),
        ("watch", b'{"type": "ADDED", "object": {}}\n'),
        ("watch", b"[]\n"),
        ("list", b"{}"),
        ("list", b"<html>"),
    ],
)
def test_a_watch_restarts_after_nonsense(server, kind, junk):
    server.answers[kind] = junk
    cluster = Cluster("n", TokenBucket(100, 100), request_seconds=5, connections=2)
    watch = PodWatch(cluster, "a=b", seconds=1)
    watch.start()
    try:
        until(lambda: server.counts[kind] >= 3, "the question to be repeated")
    finally:
        watch.stop()
        cluster.close()
