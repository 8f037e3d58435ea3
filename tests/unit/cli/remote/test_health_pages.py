"""The open pages of what may be a replica."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from app.rpc.client.tls import Trust
from cli.remote.health_pages import page


class Proxy(BaseHTTPRequestHandler):
    """A proxy whose replicas are away."""

    def do_GET(self):
        self.send_response(502)
        self.end_headers()
        self.wfile.write(b"<html>Bad Gateway</html>")

    def log_message(self, *_):
        pass


@contextmanager
def serving():
    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_page_of_a_proxy_without_replicas_is_reported_by_its_status():
    with serving() as url, pytest.raises(ValueError, match=r"^the answer \(HTTP 502\) is not from an ado server$"):
        page(url, "/healthz", Trust())
