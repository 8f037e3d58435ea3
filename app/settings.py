"""Settings of an API replica: one frozen dataclass; each field is ``ADO_`` and its name in capitals."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from app.core.environment_cipher import KeyInvalid, decode_key
from app.core.settings import SettingsError

_LEAST_BODY_BYTES = 2 * 1024 * 1024
"""A worker's batch is up to 1 MiB of JSON, and a frame that is too large ends its socket."""
_LONGEST_TIMEOUT_SECONDS = 31_536_000.0  # the same as for the timeout of one task
_MOST = 2_000_000_000
"""The largest round number that fits an integer of Postgres."""
_MOST_DAYS = 36_500
_COUNTS = (
    "losses",
    "attempts",
    "event_bytes",
    "batch_events",
    "opening_bytes",
    "opening_connections",
    "connections",
    "failed_sign_ins",
    "batch_calls",
    "answer_bytes",
    "unsent_bytes",
    "pings_per_second",
)


@dataclass(frozen=True, slots=True)
class AppSettings:
    """The settings of a replica; each field is ``ADO_`` and its name in capitals."""

    dsn: str = ""
    """Postgres, as a libpq URI. Required."""
    listen_dsn: str = ""
    """Postgres for the LISTEN connection, if ``dsn`` goes through a pooler; default: ``dsn``."""
    host: str = "127.0.0.1"
    """Address to listen on; the default is loopback, because tokens travel in clear text."""
    port: int = 7421
    """Port to listen on; 0 chooses a free one."""
    tls_cert: str = ""
    """PEM file with the TLS certificate and its chain; it is read again when it changes."""
    tls_key: str = ""
    """PEM file with the key of that certificate; default: the same file."""
    tls_client_ca: str = ""
    """CA that signs the certificates of workers. If it is set, workers must present one; other callers need none."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names besides loopback that a replica on loopback accepts, separated by commas."""
    pool_size: int = 10
    """Connections to Postgres; more gain nothing on two cores."""
    heartbeat_seconds: float = 5.0
    """Time between the heartbeats of a worker, which learns it at registration."""
    suspect_seconds: float = 15.0
    """Silence after which a worker gets no new jobs; three heartbeats."""
    lease_seconds: float = 30.0
    """Silence after which a worker's jobs are requeued; twice ``suspect``, so a short outage costs nothing."""
    losses: int = 3
    """Number of lost workers after which a job fails as lost, because it may be what kills them."""
    attempts: int = 20
    """Number of attempts without a result of the agent (lost, released, failed worker) after which a job fails."""
    agent_breaker: int = 5
    """Failed starts of an agent in a row after which its jobs wait while one of them tries it; 0: they never wait."""
    poll_seconds: float = 1.0
    """How late a reader learns of a change when its notification is lost."""
    flush_lanes: int = 2
    """Commits of appends in flight at once; more only wait for Postgres's commit lock."""
    append_bytes: int = 64 * 1024 * 1024
    """Bytes of output that may wait for the database before workers are held back."""
    output_bytes: int = 256 * 1024 * 1024
    """Bytes of events stored per attempt, which runs on beyond it: output is dropped, after another MiB every event."""
    feed_bytes: int = 4 * 1024 * 1024
    """Bytes of recent events kept for the viewers of one task; a viewer further behind reads the log."""
    page_bytes: int = 1024 * 1024
    """Largest page of the log."""
    prompt_bytes: int = 1024 * 1024
    """Largest prompt."""
    env_bytes: int = 64 * 1024
    """Largest environment of a task, names and values."""
    task_timeout: float = 86_400.0
    """Seconds after which an attempt of a task that names no timeout ends as `timed_out`; 0: never."""
    result_bytes: int = 1024 * 1024
    """Largest result of a job, as JSON."""
    task_workers: int = 1000
    """Largest number of jobs of one task."""
    notify_hosts: tuple[str, ...] = ()
    """Hosts on private networks that notifications may be sent to, also without TLS, separated by commas."""
    private_tasks: bool = False
    """Whether users of role developer see only their own tasks; they can never change others' tasks."""
    task_images: tuple[str, ...] = ()
    """Images that a task may choose for its pods, separated by commas; `*` stands for any text."""
    task_node_labels: tuple[str, ...] = ()
    """Node labels by which a task may choose where its pods run, separated by commas."""
    event_bytes: int = 1024 * 1024
    """Largest data of one event, decoded."""
    batch_events: int = 1000
    """Largest number of events in a batch of a worker."""
    kv_bytes: int = 64 * 1024
    """Largest value in a task's key-value store."""
    kv_keys: int = 1000
    """Largest number of keys in a task's key-value store."""
    kv_total_bytes: int = 8 * 1024 * 1024
    """Largest size of a task's key-value store, keys and values."""
    file_bytes: int = 256 * 1024 * 1024
    """Largest file of a task: a bundle of commits, or a checkpoint."""
    attempt_file_bytes: int = 512 * 1024 * 1024
    """Largest size of all files of one attempt."""
    task_file_bytes: int = 16 * 1024 * 1024 * 1024
    """Largest size of all files of one task, and of all files without a task."""
    keep_files_seconds: float = 86_400.0
    """How long files without a task are kept."""
    input_keep_bytes: int = 64 * 1024 * 1024
    """Bytes of a job's input that are kept for a later attempt; of a longer input, what was taken is deleted."""
    input_silence_seconds: float = 600.0
    """How long a job waits for a silent sender of its input before it fails; 0: for ever."""
    body_bytes: int = 4 * 1024 * 1024
    """Largest body of a request and frame of a socket."""
    body_seconds: float = 60.0
    """Time for a request's body to arrive."""
    opening_bytes: int = 64 * 1024
    """Largest head of a request, and largest frame of a socket before its token."""
    opening_seconds: float = 5.0
    """Time for a connection to send a request's head, or the caller's token."""
    opening_connections: int = 256
    """Connections of one address that have sent no token yet; beyond it the oldest one is closed."""
    address_connections: int = 2000
    """Connections of one address at once; 0: no limit. For a load balancer see `ADO_TRUSTED_PROXIES`."""
    connections: int = 10_000
    """Connections at once; fewer where the system allows this process fewer open files (`ulimit -Hn`)."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of load balancers, separated by commas; `X-Forwarded-For` names their callers."""
    failed_sign_ins: int = 20
    """Wrong tokens of one address in 10 seconds that are refused at once; later ones wait a second."""
    batch_calls: int = 100
    """Largest number of calls in a request or frame."""
    answer_bytes: int = 32 * 1024 * 1024
    """Largest answer to a call, and to all the calls of a request."""
    unsent_bytes: int = 64 * 1024 * 1024
    """Bytes of answers that may wait for one socket's reader; later answers become an error."""
    stalled_seconds: float = 60.0
    """Time after which a connection is closed if its peer does not read."""
    pings_per_second: int = 100
    """Pings on one socket. More PING texts are delayed; more control frames end the socket."""
    away_seconds: float = 10.0
    """Time without an answer of the database after which a replica asks its clients to try another one."""
    drain_seconds: float = 10.0
    """How long a stopping replica waits for its streams to move to another one."""
    keep_workers_seconds: float = 86_400.0
    """How long stopped workers stay listed."""
    loop_watchdog_seconds: float = 0.0
    """Log code that blocks the event loop for so long; 0: do not. For tests and for finding faults."""
    env_days: float = 7.0
    """Days after a task's end for which its `--env` values are kept for a retry."""
    session_days: float = 7.0
    """Days after a job's success for which its agent's session is kept, so that a message can continue the job."""
    audit_days: float = 400.0
    """Days for which `ado.audit` keeps its rows; at least 1."""
    data_key: tuple[str, ...] = field(default=(), repr=False)
    """Keys (32 bytes in base64) for the `--env` values in Postgres, separated by commas; the first one encrypts."""

    def __post_init__(self) -> None:
        """Check the settings. Raises SettingsError."""
        if not self.dsn:
            raise SettingsError("ADO_DSN is not set: name the database, e.g. postgresql://user@host/ado")
        if (self.tls_key or self.tls_client_ca) and not self.tls_cert:
            raise SettingsError("ADO_TLS_CERT is not set, but ADO_TLS_KEY and ADO_TLS_CLIENT_CA need it")
        if not 0 < self.heartbeat_seconds < self.suspect_seconds < self.lease_seconds:
            raise SettingsError(
                "ADO_HEARTBEAT_SECONDS < ADO_SUSPECT_SECONDS < ADO_LEASE_SECONDS must hold, all above 0; found "
                f"{self.heartbeat_seconds}, {self.suspect_seconds}, {self.lease_seconds}"
            )
        try:
            for key in self.data_key:
                decode_key(key)
        except KeyInvalid as error:
            raise SettingsError(f"ADO_DATA_KEY: {error}; openssl rand -base64 32 makes one") from None
        if self.env_days < 0:
            raise SettingsError(f"ADO_ENV_DAYS must be 0 or more; found {self.env_days}")
        if self.session_days < 0:
            raise SettingsError(f"ADO_SESSION_DAYS must be 0 or more; found {self.session_days}")
        if not 1 <= self.audit_days <= _MOST_DAYS:
            raise SettingsError(f"ADO_AUDIT_DAYS must be from 1 to {_MOST_DAYS}; found {self.audit_days}")
        if self.body_bytes < _LEAST_BODY_BYTES:
            raise SettingsError(
                f"ADO_BODY_BYTES must be {_LEAST_BODY_BYTES} or more: workers send as much; found {self.body_bytes}"
            )
        if not 0 <= self.task_timeout <= _LONGEST_TIMEOUT_SECONDS:
            raise SettingsError(
                f"ADO_TASK_TIMEOUT must be from 0 to {_LONGEST_TIMEOUT_SECONDS:.0f} seconds; found {self.task_timeout}"
            )
        _check_limits(self)

    @property
    def monitor_seconds(self) -> float:
        """Time between monitor ticks: short, so that a dead worker is noticed soon after its lease."""
        return max(0.05, min(1.0, self.suspect_seconds / 5))


def _check_limits(settings: AppSettings) -> None:
    for name in _COUNTS:
        value = getattr(settings, name)
        if not 1 <= value <= _MOST:
            raise SettingsError(f"ADO_{name.upper()} must be from 1 to {_MOST}; found {value}")
    if settings.input_silence_seconds < 0:
        raise SettingsError(f"ADO_INPUT_SILENCE_SECONDS must be 0 or more; found {settings.input_silence_seconds}")
    if settings.input_keep_bytes < 0:
        raise SettingsError(f"ADO_INPUT_KEEP_BYTES must be 0 or more; found {settings.input_keep_bytes}")
    for name in ("body_seconds", "opening_seconds", "stalled_seconds"):
        if not getattr(settings, name) > 0:
            raise SettingsError(f"ADO_{name.upper()} must be above 0; found {getattr(settings, name)}")
    for name in ("address_connections", "agent_breaker"):
        if not 0 <= getattr(settings, name) <= _MOST:
            raise SettingsError(f"ADO_{name.upper()} must be from 0 to {_MOST}; found {getattr(settings, name)}")
    for text in settings.trusted_proxies:
        _check_network(text)


def _check_network(text: str) -> None:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise SettingsError(
            f"ADO_TRUSTED_PROXIES must be addresses or networks such as 10.0.0.0/8; found {text!r}"
        ) from None
