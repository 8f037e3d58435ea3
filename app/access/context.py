"""What a procedure may use: the services of its replica and the caller it serves."""

from __future__ import annotations

from dataclasses import dataclass

from app.access.refused_calls import RefusedCallWriter
from app.core.environment_cipher import EnvironmentCipher
from app.health.readiness import Readiness
from app.log.appender import Appender
from app.log.feed import Feeds
from app.log.hub import Hub
from app.log.tail import Tail
from app.loops.claim_waiters import ClaimWaiters
from app.loops.command_poll import CommandPoll
from app.loops.finish_batcher import FinishBatcher
from app.rpc import request_id
from app.settings import AppSettings
from db import tokens
from db.actor import Actor
from db.database import Database
from db.group_commit import GroupCommit
from db.model import NewTask, Task
from db.tokens import Token


@dataclass(frozen=True, slots=True)
class Services:
    """One set a replica."""

    settings: AppSettings
    db: Database
    hub: Hub
    feeds: Feeds
    tail: Tail
    appender: Appender
    creations: GroupCommit[NewTask, Task | None]
    finish_batcher: FinishBatcher
    claim_waiters: ClaimWaiters
    cipher: EnvironmentCipher
    command_poll: CommandPoll
    readiness: Readiness
    refusals: RefusedCallWriter


MACHINES = frozenset({"worker", "attempt", "job"})
"""Roles of programs that act for a task: the task's log says what they did."""


@dataclass(frozen=True, slots=True)
class Context:
    """One set a request or socket."""

    services: Services
    caller: Token
    secret: str
    """The token as it was sent, to look it up again while a socket is open; never logged."""
    certified: bool = False
    """Whether the caller also presented a certificate."""

    @property
    def db(self) -> Database:
        """The replica's database."""
        return self.services.db

    @property
    def credential(self) -> bytes | None:
        """Digest of the credential of the attempt that calls; None: no attempt does."""
        return tokens.digest(self.secret) if self.caller.role == "attempt" else None

    def actor(self, procedure: str) -> Actor | None:
        """Return who makes a change by ``procedure``, for the audit; None for a program that acts for a task."""
        caller = self.caller
        if caller.role in MACHINES:
            return None
        return Actor(
            procedure,
            caller.user_public_id,
            caller.token_id,
            request_id.address.get(),
            request_id.current.get(),
            caller.account_name,
        )
