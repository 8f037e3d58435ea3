"""Who calls, and what each role may do.

A token is looked up by its digest and cached for ``CACHE_SECONDS``. Open sockets are checked again every few seconds:
ten seconds after a token expires or is revoked, its user is disabled or its role changes, they have ended. While the
database is away, no new caller is accepted, but open sockets stay.
"""

from __future__ import annotations

import re
import time
from typing import Any

from app.access.context import MACHINES, Context, Services
from app.core.reasons import refusal
from app.metrics import instruments
from app.rpc import request_id
from app.rpc.errors import CODES, ProcedureError
from app.rpc.server.gate import Credentials
from app.rpc.server.procedure import Procedure
from app.rpc.server.registry import Registry
from db import tokens
from db.audit import Refusal
from db.errors import (
    DatabaseFull,
    DatabaseReadOnly,
    DatabaseRefused,
    DatabaseUnavailable,
    LogPruned,
    LogRewound,
)
from db.tokens import TokenRow

CACHE_SECONDS = 2.0
_CACHE_TOKENS = 10_000
_ALWAYS_AUDITED = frozenset(
    {"token_missing", "token_invalid", "code_invalid", "forbidden", "not_allowed", "limit_exceeded"}
)
_PAGES = frozenset({"/metrics", "/trpc/ado.d.ts"})
_TARGETS = ("taskId", "jobId", "tokenId", "userId", "questionId", "targetId", "scheduleId")
_TARGET = re.compile(r"(?:task|tok|user|question|notify|schedule)-[0-9a-f]{1,20}(?:/\d{1,9})?", re.ASCII)
_REFUSED_WRITES = {DatabaseReadOnly: "database_read_only", DatabaseFull: "database_full"}

READ, RUN_TASKS, OPERATE, ADMINISTER, WORK, REPORT, READ_VALUES, WRITE_VALUES, READ_FILES, WRITE_FILES, ASK = (
    "read",
    "run_tasks",
    "operate",
    "administer",
    "work",
    "report",
    "read_values",
    "write_values",
    "read_files",
    "write_files",
    "ask",
)
OPEN_SESSIONS, EXCHANGE = "open_sessions", "exchange"

RANKS = ("viewer", "developer", "operator", "admin")
"""Roles of people, the weakest first."""

_VIEWER = frozenset({READ, READ_VALUES, READ_FILES, OPEN_SESSIONS, EXCHANGE})
_DEVELOPER = _VIEWER | {WRITE_VALUES, WRITE_FILES, RUN_TASKS}
ROLE_MAY: dict[str, frozenset[str]] = {
    "anonymous": frozenset({EXCHANGE}),
    "viewer": _VIEWER,
    "developer": _DEVELOPER,  # only of its own tasks; see app.procedures.checks.ownership
    "operator": _DEVELOPER | {OPERATE},
    "admin": _DEVELOPER | {OPERATE, ADMINISTER, WORK, REPORT},
    "worker": frozenset({WORK, REPORT, READ_FILES, WRITE_FILES}),
    "attempt": frozenset({REPORT, READ_VALUES, WRITE_VALUES, READ_FILES, WRITE_FILES, ASK}),
    "job": frozenset({READ_VALUES, WRITE_VALUES, ASK}),
}


ATTEMPT_ROLES = frozenset({"attempt", "job"})
"""Roles of one attempt: its worker writes with the first, and the job itself calls with the second."""


ANONYMOUS = TokenRow("", "anonymous", None, None, None, None, None, None, valid=True)
"""The caller of a procedure that needs no token."""


class TokenGate:
    """The ``Gate`` of the wire: opens a context for a valid token."""

    def __init__(self, services: Services, registry: Registry) -> None:
        self._services = services
        self._paths = {path: procedure.kind for path, procedure in registry.procedures.items()}
        self._names = {procedure.handler: path for path, procedure in registry.procedures.items()}
        self._cache: dict[bytes, tuple[float, TokenRow]] = {}
        self._sign_ins = services.sign_ins
        self._open_to_all = {path for path, procedure in registry.procedures.items() if procedure.access == EXCHANGE}
        self._used_tokens: set[str] = set()

    async def open(self, credentials: Credentials) -> Context:
        """Return the caller's context. Raises UNAUTHORIZED."""
        if credentials.path in self._open_to_all:
            return Context(self._services, ANONYMOUS, "")
        try:
            secret = _secret(credentials)
            return Context(self._services, await self._sign_in(secret), secret, credentials.certified)
        except ProcedureError as error:
            self._audit(error, credentials.path)
            raise

    def is_known(self, context: Context) -> bool:
        """Return whether the caller sent a valid token; a procedure that is open to all asks for none."""
        return context.caller is not ANONYMOUS

    async def _sign_in(self, secret: str) -> TokenRow:
        address = request_id.address.get() or ""
        try:
            async with self._sign_ins.lookup(address):
                return await self._valid(secret)
        except ProcedureError:
            await self._sign_ins.slow_down(address)
            raise

    def refused(self, context: Context, procedure: Procedure, value: Any, error: ProcedureError) -> None:
        """Add a refused call to the audit, if it is of a kind that is audited."""
        if error.reason in _ALWAYS_AUDITED or _is_refused_change(context, procedure, error):
            self._audit(error, self._names.get(procedure.handler), context.caller, target_of(value))

    def _audit(
        self, error: ProcedureError, path: str | None, caller: TokenRow | None = None, target: str | None = None
    ) -> None:
        procedure = path if path in self._paths or path in _PAGES else None
        user_id, token_id = (caller.user_public_id, caller.token_id or None) if caller else (None, None)
        address, request = request_id.address.get(), request_id.current.get()
        refusals = self._services.refusals
        refusals.note(Refusal(error.reason or error.code, user_id, token_id, address, procedure, target, request))

    def allow(self, context: Context, procedure: Procedure) -> None:
        """Raise FORBIDDEN unless the caller's role has the procedure's right."""
        _require(context, procedure.access)

    def allow_page(self, context: Context, access: str, path: str) -> None:
        """Raise FORBIDDEN unless the caller's role has the right ``access`` of a route."""
        try:
            _require(context, access)
        except ProcedureError as error:
            self._audit(error, path, context.caller)
            raise

    def observe(self, path: str, transport: str, code: str, seconds: float) -> None:
        """Count a call; all unknown paths are counted together."""
        known = path if path in self._paths else "unknown"
        instruments.CALLS.labels(known, transport, code).inc()
        if self._paths.get(known, "subscription") != "subscription":
            instruments.CALL_SECONDS.labels(known).observe(seconds)

    def explain(self, error: Exception) -> ProcedureError | None:
        """Return the refusal for a database error that a caller may see; None for any other error."""
        if isinstance(error, (DatabaseReadOnly, DatabaseFull)):
            return refusal(_REFUSED_WRITES[type(error)], str(error))
        if isinstance(error, DatabaseUnavailable):
            return refusal("database_unavailable", "the database cannot be reached at the moment")
        if isinstance(error, LogPruned):
            return refusal("log_pruned", str(error))
        if isinstance(error, LogRewound):
            return refusal("cursor_ahead", str(error), lastSeq=error.last_seq)
        if isinstance(error, DatabaseRefused):
            return refusal("invalid_input", str(error))
        return None

    async def check(self, context: Context) -> None:
        """Raise UNAUTHORIZED once the token of an open socket is no longer valid, or has another role."""
        if not self.is_known(context):
            return
        try:
            token = await self._valid(context.secret)
        except DatabaseUnavailable:
            return
        if token.role != context.caller.role:
            raise refusal("token_invalid", f"the token's role is {token.role} now: connect again")

    async def mark_used(self) -> None:
        """Store which tokens were used since the last time; the calls themselves do not wait for that."""
        used, self._used_tokens = self._used_tokens, set()
        if used:
            await tokens.mark_used(self._services.db, used)

    async def _valid(self, secret: str) -> TokenRow:
        key = tokens.digest(secret)
        now = time.monotonic()
        cached = self._cache.get(key)
        if cached is not None and now - cached[0] < CACHE_SECONDS:
            self._used_tokens.add(cached[1].token_id)
            return cached[1]
        self._cache.pop(key, None)
        token = await tokens.find(self._services.db, secret)
        if token is None:
            raise refusal("token_invalid", "the token is not known")
        if not token.valid:
            raise refusal("token_invalid", "the token has expired or was revoked, or its user is disabled")
        if token.role not in ATTEMPT_ROLES:  # those end with the attempt at once, so they are not cached
            if len(self._cache) >= _CACHE_TOKENS:
                self._cache.clear()
            self._cache[key] = (now, token)
            self._used_tokens.add(token.token_id)
        return token


def _who_may(access: str) -> str:
    """Return the next step of a caller whose role lacks a right: the roles that have it, the weakest first."""
    roles = [
        role for role, rights in ROLE_MAY.items() if access in rights and role not in {*ATTEMPT_ROLES, "anonymous"}
    ]
    return (
        f"use a token of role {' or '.join(roles)}" if roles else "call it inside a job, with the job's own ADO_TOKEN"
    )


def _require(context: Context, access: str) -> None:
    role = context.caller.role
    if access not in ROLE_MAY[role]:
        raise refusal("forbidden", f"a token of role {role} may not do this", hint=_who_may(access))
    is_worker = role in ("worker", "attempt") or access in (WORK, REPORT)
    if is_worker and context.services.settings.tls_client_ca and not context.certified:
        raise refusal("certificate_missing", "a worker must present a certificate to this server")


def _is_refused_change(context: Context, procedure: Procedure, error: ProcedureError) -> bool:
    """Return whether a person's change was refused, other than by a failure of the server."""
    if procedure.kind != "mutation" or procedure.access in (WORK, REPORT) or context.caller.role in MACHINES:
        return False
    return CODES[error.code][1] < 500


def target_of(value: Any) -> str | None:
    """Return the id in an input, if it has the form of one; any other text of an input may be a secret."""
    if not isinstance(value, dict):
        return None
    values = (value.get(name) for name in _TARGETS)
    return next((text for text in values if isinstance(text, str) and _TARGET.fullmatch(text)), None)


def _secret(credentials: Credentials) -> str:
    header = credentials.authorization or ""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if token := credentials.params.get("token"):
        return token
    raise refusal("token_missing", "the call carries no token")
