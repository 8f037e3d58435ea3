"""What every procedure gets: the services of its replica, and its caller."""

from __future__ import annotations

from dataclasses import dataclass

from app.access.refused_calls import RefusedCallWriter
from app.access.sign_ins import FailedSignIns
from app.core.environment_cipher import EnvironmentCipher
from app.health.readiness import Readiness
from app.log.appender import Appender
from app.log.feed import Feeds
from app.log.hub import Hub
from app.log.tail import Tail
from app.loops.claim_waiters import ClaimWaiters
from app.loops.command_poll import CommandPoll
from app.loops.finish_batcher import FinishBatcher
from app.loops.notification_sender import NotificationSender
from app.rpc import request_id
from app.settings import AppSettings
from db import tokens
from db.actor import Actor
from db.database import Database
from db.group_commit import GroupCommit
from db.model import NewTask, TaskRow
from db.tokens import TokenRow


@dataclass(frozen=True, slots=True)
class Services:
    """The services that all calls of a replica share."""

    settings: AppSettings
    db: Database
    hub: Hub
    feeds: Feeds
    tail: Tail
    appender: Appender
    creations: GroupCommit[NewTask, TaskRow | None]
    finish_batcher: FinishBatcher
    claim_waiters: ClaimWaiters
    cipher: EnvironmentCipher
    command_poll: CommandPoll
    readiness: Readiness
    refusals: RefusedCallWriter
    notification_sender: NotificationSender
    sign_ins: FailedSignIns


MACHINES = frozenset({"worker", "attempt", "job"})
"""Roles of programs that act for a task; its event log records what they do."""


@dataclass(frozen=True, slots=True)
class Context:
    """The caller of one request or socket, and the services it may use."""

    services: Services
    caller: TokenRow
    secret: str
    """The token in clear text, to check it again while a socket is open; never logged."""
    certified: bool = False
    """Whether the caller also presented a certificate."""

    @property
    def db(self) -> Database:
        """The replica's database."""
        return self.services.db

    @property
    def credential(self) -> bytes | None:
        """The digest of the calling attempt's credential; None when no attempt calls."""
        return tokens.digest(self.secret) if self.caller.role == "attempt" else None

    def actor(self, procedure: str) -> Actor | None:
        """Return the caller of ``procedure`` for the audit; None for a program that acts for a task."""
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
            caller.account,
        )
