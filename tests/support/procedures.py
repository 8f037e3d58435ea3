"""The procedures of a replica, called one after another without a wire."""

import asyncio
import contextlib
import dataclasses

from app.access.context import Context
from app.health.readiness import Readiness
from app.replica.replica import Replica
from app.rpc.errors import ProcedureError
from app.settings import AppSettings
from db.database import Database
from db.tokens import TokenRow


async def _first(items):
    """Return the first item of a subscription, and leave it."""
    async with contextlib.aclosing(items):
        return await anext(items)


class Real:
    """The procedures of one replica over a database, run step by step."""

    def __init__(self, dsn, **settings):
        self.loop = asyncio.new_event_loop()
        self.db = self.run(Database.open(dsn, size=2))
        replica = Replica(AppSettings(dsn=dsn, **settings), self.db, Readiness())
        self.procedures = replica.registry.procedures
        self.scheduler = replica.scheduler
        admin = TokenRow("t", "admin", None, None, None, None, None, None, True)
        self.context = Context(replica.services, admin, "")

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def close(self):
        self.run(self.db.close())
        self.loop.close()

    def call(self, path, **value):
        """Carry out a call; return its output, or the reason of its refusal."""
        procedure = self.procedures[path]
        try:
            answer = procedure.handler(self.context, *procedure.decode(value))
            return self.run(_first(answer) if procedure.kind == "subscription" else answer)
        except ProcedureError as error:
            return error.reason

    def be(self, caller):
        """Call as another caller from now on."""
        self.context = dataclasses.replace(self.context, caller=caller)

    def sql(self, statement, *values):
        return self.run(self.db._pool.fetch(statement, *values))
