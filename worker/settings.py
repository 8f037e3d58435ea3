"""Settings of a worker: one frozen record; each field is ``ADO_`` and its name in capitals."""

from __future__ import annotations

import os
import platform
import secrets
import tempfile
from dataclasses import dataclass, field

from app.rpc.client.tls import Trust

GIT_HOST = "git:"
"""The prefix of the capability to fetch from a host."""


def _cores() -> float:
    return float(os.cpu_count() or 1)


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _worker_id() -> str:
    return f"{platform.node()}-{os.getpid()}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The settings of one worker."""

    url: tuple[str, ...] = ()
    """Origins of the API, separated by commas; the worker uses any that answers."""
    token_file: str = ""
    """File (or /dev/fd/N) that holds the worker's token; a file is read again when the token may have been renewed."""
    ca: str = ""
    """CA to trust the server by, a PEM file; default: the system's, or those of SSL_CERT_FILE."""
    client_cert: str = ""
    """Certificate to show a server that asks workers for one, a PEM file."""
    client_key: str = ""
    """Key of that certificate, a PEM file; default: it is in the same file."""
    worker_id: str = field(default_factory=_worker_id)
    """Name under which it registers; default: host, pid and a few random letters."""
    capabilities: tuple[str, ...] = ()
    """Capabilities, separated by commas; default: shell, scripted, and every AI agent that can start."""
    optional_capabilities: tuple[str, ...] = ()
    """Capabilities that are dropped, with a line in the log and a label, when they cannot start on this machine."""
    git_hosts: tuple[str, ...] = ()
    """Hosts from which it may fetch by https or ssh, separated by commas; each is a capability git:HOST."""
    labels: tuple[str, ...] = ()
    """NAME=VALUE pairs of its labels, separated by commas; agent/NAME=VERSION declares an AI agent without a check."""
    slots: int = 1
    """Jobs that run at the same time."""
    max_jobs: int = 0
    """Jobs after which it ends; 0: no limit. A pod's worker takes one."""
    cpu: float = field(default_factory=_cores)
    """Cores it offers."""
    memory: int = field(default_factory=_memory)
    """Bytes of memory it offers."""
    gpu: float = 0.0
    """GPUs it offers."""
    work_dir: str = field(default_factory=lambda: f"{tempfile.gettempdir()}/ado-work-{os.getuid()}")
    """Where the directories of attempts are made."""
    isolated: bool = False
    """Whether a container isolates the worker with its job; agents then need no permission for their tools."""
    sandbox: str = "auto"
    """Sandbox of jobs: bubblewrap, uid, none, or auto for the strongest that works (none with ADO_ISOLATED)."""
    job_uids: str = ""
    """FIRST-LAST, user ids for the jobs of a worker that is root; auto tries uid only if this is set."""
    job_ports: str = "20000-29999"
    """FIRST-LAST, ports from which each job gets 20 of its own (ADO_PORT_BASE); ephemeral ports are left out."""
    cache_dir: str = ""
    """Where caches of package managers are kept between jobs, on the work directory's file system; default: none."""
    cache_bytes: int = 10 * 1024**3
    """Bytes that the kept caches may have together; the oldest are deleted."""
    sandbox_read: tuple[str, ...] = ()
    """Files and directories that jobs may read in their sandbox, besides the system and the programs on PATH."""
    agent_env: tuple[str, ...] = ()
    """Names of further variables that every AI agent gets from the worker, separated by commas; for proxies."""
    acp_agents: tuple[str, ...] = ("opencode=opencode acp",)
    """Agents of the Agent Client Protocol, as NAME=COMMAND, separated by commas."""
    secrets: tuple[str, ...] = ()
    """Names of variables of its environment that jobs may name as secrets, separated by commas."""
    secrets_dir: str = ""
    """Directory of files that jobs may name as secrets."""
    agent_idle_seconds: float = 600.0
    """The attempt fails after an AI agent has been silent for so long while none of its tools runs."""
    orphan_seconds: float = 600.0
    """How long agents continue while no server can be reached."""
    grace_seconds: float = 10.0
    """From SIGTERM to SIGKILL when an agent is stopped."""
    output_seconds: float = 5.0
    """How long output is still read after an agent has ended."""
    stop_seconds: float = 10.0
    """How long running jobs may finish when the worker is stopped; then they are released."""
    buffer_bytes: int = 4 * 1024 * 1024
    """Bytes of output of one attempt that may wait for the server; beyond them the agent's pipe fills."""
    checkpoint_seconds: float = 10.0
    """Shortest time between two checkpoints of an attempt, from which the next attempt resumes."""
    question_hold_seconds: float = 300.0
    """How long an agent's process waits for an answer or a rate limit; then its job waits without a worker."""
    loop_watchdog_seconds: float = 0.0
    """Log code that blocks the event loop for so long; 0 disables it. For tests and for finding faults."""
    stall_seconds: float = 60.0
    """The worker stops its heartbeat after its event loop has been blocked for so long, because its jobs are stuck."""

    @property
    def trust(self) -> Trust:
        """How it verifies its server, and the certificate that it presents."""
        return Trust(self.ca, self.client_cert, self.client_key)

    @property
    def fetches_from(self) -> frozenset[str]:
        """Hosts from which it may fetch, from ``git_hosts`` and from ``capabilities``."""
        named = (name.removeprefix(GIT_HOST) for name in self.capabilities if name.startswith(GIT_HOST))
        return frozenset((*self.git_hosts, *named))
