"""The proxies of ``deploy/proxy`` as an ordinary user's processes, over addresses of the test's own."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from importlib import resources
from pathlib import Path

EXAMPLES = Path(str(resources.files("sql"))).parent / "deploy" / "proxy"
FILES = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}
REPLICAS = ("api-1:7421", "api-2:7421")


def program(kind):
    """Return where nginx or HAProxy is installed; sbin is not on everybody's path."""
    return shutil.which(kind, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def configured(kind, directory, port, backends):
    """Return the example configuration with the test's addresses, port and directory, and nothing else changed."""
    text = (EXAMPLES / FILES[kind]).read_text()
    listen = {"nginx": "listen ", "haproxy": "bind :"}[kind]
    changes = {
        f"\n        {listen}7420": f"\n        listen 127.0.0.1:{port}",
        f"\n    {listen}7420": f"\n    bind 127.0.0.1:{port}",
        "/tmp/": f"{directory}/",
        **dict(zip(REPLICAS, backends, strict=True)),
    }
    changed = text
    for old, new in changes.items():
        changed = changed.replace(old, new)
    assert f"127.0.0.1:{port}" in changed
    assert all(backend in changed for backend in backends)
    return changed


class Balancer:
    """One proxy; ``url`` is its origin."""

    def __init__(self, kind, directory, urls):
        self.kind = kind
        self._directory = Path(directory) / kind
        self._directory.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        backends = [url.removeprefix("http://") for url in urls]
        self._config = self._directory / FILES[kind]
        self._config.write_text(configured(kind, self._directory, self._port, backends))
        self._log = self._directory / "log"

    def __enter__(self):
        command = {"nginx": ["-p", str(self._directory), "-c"], "haproxy": ["-db", "-f"]}[self.kind]
        options = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._directory, nobody.pw_uid, nobody.pw_gid)
            options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [program(self.kind), *command, str(self._config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **options,
            )  # fmt: skip
        self._await_port()
        return self

    def _await_port(self):
        end = time.monotonic() + 30
        while time.monotonic() < end and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=2).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        self.__exit__()
        raise AssertionError(f"{self.kind} does not run: {self._log.read_text()}")

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
