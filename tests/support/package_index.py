"""Registries of pip and npm on loopback, with one package each that is made here; they count what is fetched."""

import base64
import collections
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WHEEL = "demo-1.0-py3-none-any.whl"
TARBALL = "demo-1.0.0.tgz"
FILLING = bytes(range(256)) * 4096
"""A megabyte, so that a torn file is no unlikely one."""


def wheel():
    """Return a wheel of the module demo."""
    parts = {
        "demo.py": b"word = 'from pip'\n",
        "demo_data/filling": FILLING,
        "demo-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
        "demo-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for name, data in parts.items()
    )
    parts["demo-1.0.dist-info/RECORD"] = (record + "demo-1.0.dist-info/RECORD,,\n").encode()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return made.getvalue()


def tarball():
    """Return a package of npm."""
    parts = {
        "package/package.json": json.dumps({"name": "demo", "version": "1.0.0", "main": "index.js"}).encode(),
        "package/index.js": b"module.exports = 'from npm'\n",
        "package/filling": FILLING,
    }
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


class PackageIndex(ThreadingHTTPServer):
    """Both registries; ``fetched`` counts each path. A context manager."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.fetched = collections.Counter()
        self.lock = threading.Lock()
        packed = tarball()
        digest = base64.b64encode(hashlib.sha512(packed).digest()).decode()
        dist = {"tarball": f"{self.url}/demo/-/{TARBALL}", "integrity": f"sha512-{digest}"}
        document = {
            "name": "demo",
            "dist-tags": {"latest": "1.0.0"},
            "versions": {"1.0.0": {"name": "demo", "version": "1.0.0", "dist": dist}},
        }
        self.answers = {
            "/simple/demo/": ("text/html", f'<a href="/{WHEEL}">{WHEEL}</a>'.encode()),
            f"/{WHEEL}": ("application/octet-stream", wheel()),
            "/demo": ("application/json", json.dumps(document).encode()),
            f"/demo/-/{TARBALL}": ("application/octet-stream", packed),
        }

    def __enter__(self):
        threading.Thread(target=self.serve_forever, name="index", daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        pass  # a program that is killed leaves its connection

    def packages(self):
        """Return how often each package itself was fetched: pip's, then npm's."""
        with self.lock:
            return self.fetched[f"/{WHEEL}"], self.fetched[f"/demo/-/{TARBALL}"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        kind, data = self.server.answers.get(self.path, ("text/plain", b""))
        with self.server.lock:
            self.server.fetched[self.path] += 1
        self.send_response(200 if data else 404)
        for name, value in (
            ("content-type", kind),
            ("content-length", str(len(data))),
            ("cache-control", "max-age=3600"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
