"""The proxies of ``deploy/proxy`` as an ordinary user's processes, over addresses of the test's own."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from importlib import resources
from pathlib import Path

from support.certificates import Authority
from support.ports import reserved_port

EXAMPLES = Path(str(resources.files("sql"))).parent / "deploy" / "proxy"
FILES = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "caddy": "Caddyfile"}
REPLICAS = ("api-1:7421", "api-2:7421")
AROUND_NGINX = """\
worker_processes auto;
pid {directory}/pid;
error_log stderr warn;
daemon off;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/ado.conf;
}}
"""
"""What stands around ``nginx.conf`` on a machine, for an ordinary user."""


def program(kind):
    """Return where nginx, HAProxy or Caddy is installed; sbin is not on everybody's path."""
    return shutil.which(kind, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def changed(text, changes):
    """Return a configuration with some of its texts replaced, each of which must be there."""
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


def configure(kind, directory, port, backends, certificate):
    """Write the example configuration with the test's addresses, and nothing else changed; return the program's file.

    Without a certificate they speak plain HTTP. nginx's TLS is tested by following the page.
    """
    text = (EXAMPLES / FILES[kind]).read_text()
    main = directory / "main"
    if kind == "haproxy":
        tls = " ssl crt /run/secrets/tls.pem alpn http/1.1"
        bind = tls.replace("/run/secrets/tls.pem", str(certificate)) if certificate else ""
        changes = {f"bind :7420{tls}": f"bind 127.0.0.1:{port}{bind}", **dict(zip(REPLICAS, backends, strict=True))}
        main.write_text(changed(text, changes))
    elif kind == "nginx":
        changes = {
            "    listen [::]:443 ssl;\n": "",
            "listen 443 ssl;": f"listen 127.0.0.1:{port};",
            "    ssl_certificate /etc/ado/tls/server.pem; # and its chain\n": "",
            "    ssl_certificate_key /etc/ado/tls/server.key;\n": "",
            **dict(zip(("127.0.0.1:7421", "127.0.0.1:7422"), backends, strict=True)),
        }
        (directory / "ado.conf").write_text(changed(text, changes))
        main.write_text(AROUND_NGINX.format(directory=directory))
    else:
        shutil.copy(EXAMPLES / FILES[kind], directory / "site")
        main.write_text(
            f"{{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n}}\nimport {directory}/site\n"
        )
    return main


class Balancer:
    """One proxy; ``url`` is its origin. with ``tls`` Caddy makes its certificate itself."""

    def __init__(self, kind, directory, urls, *, tls=False):
        self.kind = kind
        self._directory = Path(directory) / kind
        self._directory.mkdir()
        self._held = contextlib.ExitStack()
        self._port = self._held.enter_context(reserved_port())
        self.url = f"https://localhost:{self._port}" if tls else f"http://127.0.0.1:{self._port}"
        backends = [url.removeprefix("http://") for url in urls]
        self.ca = self._directory / "caddy/pki/authorities/local/root.crt"
        certificate = self._certificate() if tls and kind == "haproxy" else None
        self._config = configure(kind, self._directory, self._port, backends, certificate)
        self._env = {
            **os.environ, "ADO_SITE": self.url, "ADO_REPLICAS": " ".join(backends), "HOME": str(self._directory),
            "XDG_DATA_HOME": str(self._directory), "XDG_CONFIG_HOME": str(self._directory),
        }  # fmt: skip
        self._log = self._directory / "log"

    def _certificate(self):
        """Return a file with a certificate and its key."""
        authority = Authority(self._directory / "pki")
        self.ca = authority.ca
        certificate, key, _ = authority.issue("server")
        both = self._directory / "tls.pem"
        both.write_bytes(certificate.read_bytes() + key.read_bytes())
        return both

    def __enter__(self):
        command = {
            "nginx": ["-p", str(self._directory), "-c"],
            "haproxy": ["-db", "-f"],
            "caddy": ["run", "--adapter", "caddyfile", "--config"],
        }[self.kind]
        options = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._directory, nobody.pw_uid, nobody.pw_gid)
            options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [program(self.kind), *command, str(self._config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=self._env, **options,
            )  # fmt: skip
        self._await_port()
        return self

    def _await_port(self):
        end = time.monotonic() + 60
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
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._held.close()
