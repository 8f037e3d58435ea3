"""The real program as real processes: a home, replicas, spawners, workers and commands."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from app.rpc.client import HttpClient
from db import token_admin, tokens

from . import forkserver
from .ports import reserved_port

FAST = {
    "ADO_HEARTBEAT_SECONDS": "0.5",
    "ADO_SUSPECT_SECONDS": "2",
    "ADO_LEASE_SECONDS": "4",
    "ADO_STOP_SECONDS": "0.5",
    "ADO_FAILED_SIGN_INS": "10000",
}
PATIENT = {"ADO_SUSPECT_SECONDS": "300", "ADO_LEASE_SECONDS": "600"}
"""For tests in which no worker is lost: one that the machine leaves without a processor is not lost either."""

STATES = {
    "workers": "select to_json(w)::text from ado.worker_status w order by worker_id limit 20",
    "jobs": "select to_json(j)::text from ado.job_status j where status in ('queued', 'running') limit 20",
}
"""What describes the state of a cluster after a failure, each as one statement."""
SHOWN = 3000  # bytes of a log: the reports of all processes of a failed test stay readable


def until(condition, what="the condition", seconds=60.0):
    """Wait until a condition gives something true, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


def exists(pid):
    """Whether a process lives (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def processes_with(text):
    """Return the pids of living processes whose command line or environment holds a text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if text.encode() in (entry / "cmdline").read_bytes() and exists(int(entry.name)):
                    found.append(int(entry.name))
    return found


def processes_in_network(text):
    """Return the pids of ``processes_with`` that are in the network of this thread, which a test may have alone."""
    found, own = [], Path("/proc/thread-self/ns/net").readlink()
    for pid in processes_with(text):
        with contextlib.suppress(OSError):  # it has just ended
            found += [pid] if Path(f"/proc/{pid}/ns/net").readlink() == own else []
    return found


def write_token(path, token):
    """Write a token into a file as it must be: for its owner alone."""
    path.touch(0o600)
    path.write_text(token)


class Cluster:
    """Replicas, workers and spawners over one database; everything ends with the test."""

    program = (sys.executable, "-P", "-m", "cli")
    forks = True
    """Whether replicas, workers and spawners may be forks; those do not import."""

    def __init__(self, dsn, home, *, env=None):
        self.dsn = dsn
        self.home = Path(home)
        # without a sandbox, jobs and tests can speak to each other by files and pids
        self.env = {"ADO_SANDBOX": "none", **os.environ, "ADO_DSN": dsn, **FAST, **(env or {})}
        self.env.pop("ADO_URL", None)
        self._ports = contextlib.ExitStack()
        self.processes = []
        self.replicas = []
        self.urls = []
        self.token = self.make_token("admin")
        self._token_file = self.home / "admin-token"
        write_token(self._token_file, self.token)

    def make_token(self, role, **values):
        token = tokens.new(role, **values)
        token_admin.create_token(self.dsn, token)
        return token.token

    def start(self, *arguments, env=None, **options):
        """Start a process of ado; a fork where that makes no difference."""
        if self.forks and not options:
            with self._log(arguments[0]) as log, Path(os.devnull).open("rb") as nothing:
                streams = {"stdin": nothing.fileno(), "stdout": log.fileno(), "stderr": log.fileno()}
                if process := forkserver.start(arguments, env={**self.env, **(env or {})}, cwd="/", **streams):
                    self.processes.append(process)
                    return process
        return self.launch([sys.executable, "-P", "-m", "cli", *arguments], name=arguments[0], env=env, **options)

    def _log(self, name):
        return (self.home / f"{name}-{len(self.processes)}.log").open("wb")

    def launch(self, command, *, name="other", env=None, **options):
        """Start a process that ends with the test, with a log of its own."""
        log = self._log(name)
        process = subprocess.Popen(
            command,
            env={**self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            **options,
        )
        log.close()
        self.processes.append(process)
        return process

    def reserve_port(self):
        """Return a port of loopback for a server of this cluster; no other test gets it before the cluster ends."""
        return self._ports.enter_context(reserved_port())

    def add_replicas(self, count, public_url=""):
        """Start replicas; with ``public_url`` the first listens on its port for everybody."""
        for number in range(count):
            public = urlsplit(public_url).port if number == 0 else None
            port = public or self.reserve_port()
            self.replicas.append(self.start("api", "--port", str(port), *(["--host", "0.0.0.0"] if public else [])))
            self.urls.append(f"http://127.0.0.1:{port}")
        for url in self.urls:
            until(lambda url=url: self._ready(url), f"{url} to be ready")
        return self

    @staticmethod
    def _ready(url):
        import http.client

        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def add_worker(self, name, *arguments, url=None, env=None):
        return self.start(
            "worker", "--id", name, "--url", url or ",".join(self.urls), "--token-file", str(self._token_file),
            "--work-dir", str(self.home / "work"), *arguments, env=env,
        )  # fmt: skip

    def await_idle(self, *names):
        """Wait until workers have registered and could take a job."""
        idle = "select count(*) from ado.worker_status where state = 'idle' and worker_id = any(%s)"
        until(lambda: self.sql(idle, list(names)) == [(len(names),)], f"{', '.join(names)} to be idle")

    def ado(self, *arguments, url=None, token=None, check=None, timeout=90, cwd="/", **options):
        """Run a command to its end."""
        env = self.client_env(url, token)
        done = None if options else forkserver.run(arguments, env=env, cwd=str(cwd), timeout=timeout)
        done = done or subprocess.run(
            [sys.executable, "-P", "-m", "cli", *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
            cwd=cwd,
            **options,
        )
        if check is not None:
            assert done.returncode == check, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done

    def create_task(self, prompt="x"):
        """Create a task of the shell's that no worker has run yet; return its name."""
        with contextlib.closing(HttpClient(self.urls, self.token)) as client:
            return client.mutate("tasks.create", {"prompt": prompt, "agent": "shell"})["taskId"]

    def client_env(self, url=None, token=None):
        env = {**self.env, "ADO_URL": url or ",".join(self.urls), "ADO_TOKEN": token or self.token}
        env["ADO_HOME"] = str(self.home)
        env.pop("ADO_DSN")
        return env

    def open(self, *arguments, url=None, stdin=subprocess.DEVNULL, **options):
        """Start a command without waiting for its end; that and its pipes end with the cluster at the latest."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", *arguments],
            env=self.client_env(url),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # a line that is read takes nothing of the next ones from communicate()
            cwd="/",
            **options,
        )
        self.processes.append(process)
        return process

    def task(self, name):
        return json.loads(self.ado("tasks", "show", name, "-o", "json", check=0).stdout)

    def last_task(self):
        """Return the name of the newest task."""
        return f"task-{self.sql('select max(task_id) from ado.tasks')[0][0]}"

    def events(self, name):
        lines = self.ado("attach", name, "-o", "jsonl").stdout.splitlines()
        return [json.loads(line) for line in lines]

    def sql(self, statement, *values):
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(statement, values).fetchall()

    def describe(self):
        """Return what explains a failed test: the workers, the jobs that have not ended, and the ends of the logs."""
        parts = []
        for title, statement in STATES.items():
            try:
                parts += [f"-- {title}", *(row[0] for row in self.sql(statement))]
            except psycopg.Error as error:
                parts.append(f"-- {title}: {error}")
        for log in sorted(self.home.glob("*.log")):
            text = log.read_bytes()[-SHOWN:].decode(errors="replace").replace(self.token, "…")
            parts += [f"-- {log.name}", text.rstrip()]
        return "\n".join(parts)

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    pipe.close()
        self._ports.close()
