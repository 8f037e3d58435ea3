"""What ``ado doctor`` says about one replica."""

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

from app.rpc.client.tls import SYSTEM
from cli.commands.doctor import _check_replica


class Replica(BaseHTTPRequestHandler):
    """A replica whose database takes two seconds for ``/readyz``."""

    def do_GET(self):
        now = datetime.now(UTC).isoformat()
        if self.path == "/readyz":
            threading.Event().wait(2)
        body = json.dumps({"status": "ready", "problems": {}, "time": now, "databaseTime": now}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_the_time_that_a_replica_takes_for_its_checks_is_no_difference_of_the_clocks():
    with HTTPServer(("127.0.0.1", 0), Replica) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        checks = {check.name: check for check in _check_replica(f"http://127.0.0.1:{server.server_port}", SYSTEM)}
        server.shutdown()
        thread.join()
    assert float(checks["clock"].message.split()[0]) < 1.5
