"""The whole of ado over links that a test can break, and processes that it can kill: a field for fault tests.

Two replicas, each with a link of its own to Postgres; workers and viewers reach each replica through links of their
own. What is killed is started again, as a supervisor would. Postgres is a durable one, so a kill is a crash recovery.
"""

import contextlib
import os
import signal
import tempfile
import time
from pathlib import Path

import psycopg

from db.embedded import EmbeddedServer
from db.migrate import migrate
from support.link import Link
from support.postgres import fast_directory, remove
from support.program import Cluster, exists, processes_with, until

REPLICAS = 2


class Field:
    """Use it as a context manager; ``cluster`` runs commands, ``links`` are all links by name."""

    def __init__(self, *, env=None):
        self.home = fast_directory()
        self.env = env or {}
        self.links = {}
        self.workers = []
        self._stack = contextlib.ExitStack()
        self._names = 0
        self._lifeline = None

    def __enter__(self):
        try:
            return self._start()
        except BaseException:
            self.__exit__()
            raise

    def _start(self):
        self._stack.callback(remove, self.home)
        self._stack.callback(until, lambda: not processes_with(str(self.home)), "the end of what a spawner left")
        self.server = EmbeddedServer(self.home / "pg", settings={"shared_buffers": "64MB"})
        self.dsn = self.server.start()
        self._stack.callback(self.server.stop)
        migrate(self.dsn)
        socket_file = Path(psycopg.conninfo.conninfo_to_dict(self.dsn)["host"]) / ".s.PGSQL.5432"
        self.sockets = Path(tempfile.mkdtemp(prefix="ado-link-", dir="/tmp"))
        self._stack.callback(remove, self.sockets)
        self.cluster = Cluster(self.dsn, self.home, env=self.env)
        self.cluster.urls = []
        self._stack.callback(self.cluster.close)
        self.ports = [self.cluster.reserve_port() for _ in range(REPLICAS)]
        for index, port in enumerate(self.ports):
            self._link_to_postgres(f"pg{index}", socket_file)
            self._link(f"work{index}", ("127.0.0.1", port))
            self._link(f"view{index}", ("127.0.0.1", port))
        self._link_to_postgres("pg-spawner", socket_file)
        self.replicas = [None] * REPLICAS
        for index in range(REPLICAS):
            self.start_replica(index)
        self.cluster.urls = self.view_urls
        for index in range(REPLICAS):
            self.await_replica(index)
        return self

    def __exit__(self, *_):
        for link in self.links.values():
            with contextlib.suppress(Exception):
                link.go()
        self._stack.close()

    def _link_to_postgres(self, name, socket_file):
        place = self.sockets / name
        place.mkdir()
        place.chmod(0o755)
        self._link(name, socket_file, listen=place / ".s.PGSQL.5432")

    def _link(self, name, target, **options):
        self.links[name] = self._stack.enter_context(Link(target, **options))

    @property
    def view_urls(self):
        return [self.links[f"view{index}"].url for index in range(REPLICAS)]

    @property
    def work_urls(self):
        return [self.links[f"work{index}"].url for index in range(REPLICAS)]

    def pg_dsn(self, link):
        """Return the DSN through a link."""
        return f"postgresql:///postgres?host={self.sockets / link}&user=ado"

    def start_replica(self, index):
        cluster = self.cluster
        cluster.env["ADO_DSN"] = self.pg_dsn(f"pg{index}")
        self.replicas[index] = cluster.start("api", "--port", str(self.ports[index]))

    def await_replica(self, index, seconds=60):
        until(lambda: Cluster._ready(f"http://127.0.0.1:{self.ports[index]}"), f"replica {index}", seconds)

    def add_worker(self, *arguments):
        self._names += 1
        urls = self.work_urls if self._names % 2 else self.work_urls[::-1]
        worker = self.cluster.add_worker(f"w{self._names}", *arguments, url=",".join(urls))
        self.workers.append(worker)
        return worker

    def go(self):
        """Make every link whole."""
        for link in self.links.values():
            link.delay, link.rate = 0.0, None
            link.go()

    @staticmethod
    def last(seconds):
        """Let a fault last so long; there is nothing to wait for."""
        time.sleep(seconds)

    def start_spawner(self, most):
        """Start a spawner whose workers end with this field, however the spawner ends."""
        if self._lifeline is None:
            self._lifeline, write = os.pipe()
            self._stack.callback(os.close, self._lifeline)
            self._stack.callback(os.close, write)
        cluster = self.cluster
        cluster.env["ADO_DSN"] = self.pg_dsn("pg-spawner")
        arguments = ["--max", str(most), "--url", ",".join(self.work_urls), "--work-dir", str(self.home / "work")]
        arguments += ["--lifeline", str(self._lifeline)]
        self.spawner = cluster.start("spawner", *arguments, pass_fds=[self._lifeline])

    # kills

    def kill_spawner(self, most):
        """Kill the spawner and start another one."""
        _kill(self.spawner)
        self.start_spawner(most)

    def kill_replica(self, index, away=0.0):
        """Kill a replica and start it again after a while."""
        _kill(self.replicas[index])
        time.sleep(away)
        self.start_replica(index)

    def kill_worker(self, place, *arguments):
        """Kill a worker and start another one."""
        _kill(self.workers.pop(place))
        self.add_worker(*arguments)

    def kill_postgres(self, away=0.0):
        """Kill the postmaster; the start afterwards recovers."""
        os.kill(self.server.pid, signal.SIGKILL)
        until(lambda: not self.server.alive(), "the postmaster's end")
        self.server.stop()
        time.sleep(away)
        self.server.start()

    def kill_backend(self):
        """Kill one connection's process: Postgres restarts itself and recovers."""
        for name in Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if b"ado" in Path(f"/proc/{name}/cmdline").read_bytes():
                    os.kill(int(name), signal.SIGKILL)
                    return

    def stop_postgres(self):
        self.server.stop()

    def start_postgres(self):
        self.server.start()

    # what is true

    def complaints(self):
        """Return what the processes logged as errors, for the report of a failure."""
        found = []
        for log in sorted(self.home.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            found += [f"{log.name}: {line}" for line in lines if "call failed" in line or "Traceback" in line]
        return "\n".join(found)

    def sql(self, statement, *values):
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(statement, values).fetchall()

    def create(self, prompt, *, workers=1, agent="shell", retries=0):
        """Create a task and return its id."""
        arguments = [
            "run",
            "--remote",
            "--detach",
            "-o",
            "name",
            "--wait-for-agent",
            "--agent",
            agent,
            "--workers",
            str(workers),
        ]
        done = self.cluster.ado(*arguments, prompt, check=0)
        return done.stdout.decode().strip()


def _kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not exists(process.pid))
