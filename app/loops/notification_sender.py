"""Delivers the notifications of the outbox; every replica runs one.

A replica claims what is due, sends it, and records what became of it. A replica that dies in between leaves its
notifications waiting; after the lease that the claim gave, another one sends them again with the same ids. Each target
has at most one sender in this replica, so a target that does not answer holds up no other one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from itertools import groupby
from operator import attrgetter

import orjson

from app.core.environment_cipher import EnvironmentCipher, EnvironmentUnreadable
from app.notifications.addresses import AddressRefused, parse_url
from app.notifications.delivery import DeliveryFailed, post
from app.notifications.webhook import request
from db import notifications
from db.database import Database
from db.notifications import NotificationRow, SigningKey, TargetFormat

_log = logging.getLogger("ado.notifications")
_AT_ONCE = 2
"""Notifications of one target in a claim. Both time limits together are shorter than the claim's lease."""


class NotificationSender:
    """Sends what is due, with one task for each target."""

    def __init__(self, db: Database, cipher: EnvironmentCipher, named_hosts: tuple[str, ...]) -> None:
        self._db = db
        self._cipher = cipher
        self.named_hosts = frozenset(host.lower() for host in named_hosts)
        self._sending: dict[int, asyncio.Task[None]] = {}

    async def step(self) -> None:
        """Claim what is due and start to send it; does not wait for the targets."""
        claimed = await notifications.claim(self._db, busy=self._sending, target_limit=_AT_ONCE)
        for target_id, items in groupby(sorted(claimed, key=attrgetter("target_id")), key=attrgetter("target_id")):
            task = asyncio.create_task(self._send_all(list(items)), name=f"notify-{target_id}")
            self._sending[target_id] = task
            task.add_done_callback(partial(self._ended, target_id))

    def _ended(self, target_id: int, _: asyncio.Task[None]) -> None:
        del self._sending[target_id]

    async def close(self) -> None:
        """Stop sending; what was not recorded is sent again by another replica."""
        for task in self._sending.values():
            task.cancel()
        await asyncio.gather(*self._sending.values(), return_exceptions=True)

    async def _send_all(self, items: list[NotificationRow]) -> None:
        try:
            while items:
                errors: dict[int, str | None] = {}
                for item in items:
                    errors[item.notification_id] = await self._try(item)
                await notifications.record(self._db, errors)
                if any(errors.values()):
                    return
                # A target that takes its notifications gets the next ones at once: a thousand need no thousand steps.
                target_id = items[0].target_id
                items = await notifications.claim(self._db, only=target_id, target_limit=_AT_ONCE)
        except Exception:  # noqa: BLE001 - the rows are waiting still
            _log.warning("notifications were not recorded; they are sent again", exc_info=True)

    async def _try(self, item: NotificationRow) -> str | None:
        try:
            await self.send(item.url, item.format, item.key, f"notification-{item.notification_id}", item.body)
        except DeliveryFailed as error:
            return str(error)
        return None

    async def send(self, url: str, format: TargetFormat, key: SigningKey, message_id: str, body: str) -> None:
        """Send one notification, given as JSON. Raises DeliveryFailed."""
        try:
            secret = key.secret or self._cipher.open(key.sealed or "")["secret"]
            parts = parse_url(url, self.named_hosts)
        except EnvironmentUnreadable:
            text = "its key cannot be decrypted: no key in this replica's ADO_DATA_KEY is the one that encrypted it"
            raise DeliveryFailed(text) from None
        except AddressRefused as error:
            raise DeliveryFailed(str(error)) from None
        headers, content = request(format, secret, message_id, int(time.time()), orjson.loads(body))
        await post(parts, headers, content, named_hosts=self.named_hosts)
