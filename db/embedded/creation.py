"""Creating the embedded database: initdb, then the role that owns it.

The bootstrap superuser is ``postgres``, and only the supervisor uses it. Everything else logs in as ``ado``, which owns
the database and is no superuser: whoever takes over a replica's login can read ado's data, but can run no program and
read no file as the server. Both steps happen in a directory of their own that is renamed at the end, so a crash between
them leaves nothing that looks like a database.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from db.embedded import binaries
from db.errors import EmbeddedError

SUPERUSER = "postgres"
OWNER = "ado"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

_TUNABLE = (
    "autovacuum_naptime",
    "default_transaction_read_only",
    "idle_in_transaction_session_timeout",
    "log_min_duration_statement",
    "maintenance_work_mem",
    "max_connections",
    "shared_buffers",
    "work_mem",
)
"""What the owner may change with ALTER SYSTEM; none of these runs a program or writes a file of its choice."""
_TUNABLE_FROM_17 = ("max_notify_queue_pages",)
_CREATEROLE_IS_LIMITED = 16  # before this version CREATEROLE could grant itself pg_execute_server_program


def create(
    data: Path, bindir: Path, who: binaries.Identity, *, log: Path, sync: bool, notify: Callable[[str], None]
) -> None:
    """Create the data directory ``data``; ``notify`` gets each step. Raises EmbeddedError."""
    new = data.with_name(f"{data.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if who.switch():
        os.chown(new, who.uid, who.gid)
    try:
        notify("creating the database")
        _run(_initdb(new, bindir, sync=sync), "", who, log)
        notify("creating the database's roles")
        _run([str(bindir / "postgres"), "--single", "-D", str(new), "postgres"], _roles(bindir), who, log)
        new.rename(data)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _initdb(data: Path, bindir: Path, *, sync: bool) -> list[str]:
    command = [str(bindir / "initdb"), "-D", str(data), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8"]
    command += ["--no-instructions", "--locale=C"]
    if binaries.major(bindir) >= 17:
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return command if sync else [*command, "--no-sync"]


def _roles(bindir: Path) -> str:
    """Return the statements that make the owner; single-user mode takes one statement a line."""
    major = binaries.major(bindir)
    createrole = "createrole" if major >= _CREATEROLE_IS_LIMITED else "nocreaterole"
    tunable = (*_TUNABLE, *(_TUNABLE_FROM_17 if major >= 17 else ()))
    statements = [
        f"create role {OWNER} login nosuperuser createdb {createrole}",
        "create role ado_api nologin",
        "create role ado_readonly nologin",
        f"grant ado_api, ado_readonly to {OWNER} with admin option",
        f"grant pg_monitor, pg_signal_backend to {OWNER}",
        f"grant alter system on parameter {', '.join(tunable)} to {OWNER}",
        f"grant execute on function pg_catalog.pg_reload_conf() to {OWNER}",
        f"alter database postgres owner to {OWNER}",
        f"alter schema public owner to {OWNER}",
    ]
    return "".join(f"{statement}\n" for statement in statements)


def _run(command: list[str], text: str, who: binaries.Identity, log: Path) -> None:
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, cwd="/", env=ENVIRONMENT, check=False, **who.switch()
    )
    output = done.stdout + done.stderr
    # single-user mode goes on after a statement that failed, and ends with 0
    if done.returncode or "ERROR:" in output:
        raise start_failed("the database cannot be created", output, str(log))


def start_failed(problem: str, output: str, log: str) -> EmbeddedError:
    """Return the error for a failed start, with the last lines of the server's output."""
    lines = output.strip().splitlines()[-4:]
    detail = " | ".join(line.strip() for line in lines) or "it printed nothing"
    if "No space left on device" in output:
        return EmbeddedError(f"{problem}: the disk is full", "free some space (or move ADO_HOME) and try again")
    if "shared memory" in output:
        return EmbeddedError(f"{problem}: no shared memory: {detail}", "enlarge /dev/shm or close other servers")
    return EmbeddedError(f"{problem}: {detail}", f"see {log}; a database of your own can be named with ADO_DSN")
