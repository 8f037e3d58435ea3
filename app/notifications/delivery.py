"""Sends one request to a target over HTTP/1.1: no redirect is followed, and little of the answer is read."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from typing import Any

import h11

from app.notifications.addresses import AddressRefused, WebhookUrl, resolve

TIMEOUT_SECONDS = 10.0
"""For the whole request. It is shorter than the lease of a claimed notification, 27 s at least."""
_READ_BYTES = 16 * 1024


class DeliveryFailed(Exception):
    """The target did not take a notification; the message says why, without anything that the target sent."""


async def post(
    url: WebhookUrl,
    headers: Mapping[str, str],
    body: bytes,
    *,
    named_hosts: frozenset[str],
    timeout: float = TIMEOUT_SECONDS,
) -> None:
    """Send a body; a status of 2xx is success. Raises DeliveryFailed."""
    try:
        async with asyncio.timeout(timeout):
            status = await _exchange(url, headers, body, named_hosts)
    except TimeoutError:
        raise DeliveryFailed(f"no answer within {timeout:g} s") from None
    except AddressRefused as error:
        raise DeliveryFailed(str(error)) from None
    except ssl.SSLCertVerificationError as error:
        raise DeliveryFailed(f"its certificate is not valid: {error.verify_message}") from None
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name with an impossible label
        raise DeliveryFailed(f"cannot connect: {getattr(error, 'strerror', None) or type(error).__name__}") from None
    except h11.RemoteProtocolError:
        raise DeliveryFailed("its answer is not HTTP/1.1") from None
    if 300 <= status < 400:
        raise DeliveryFailed(f"HTTP {status}: redirects are not followed; use the address that it redirects to")
    if not 200 <= status < 300:
        raise DeliveryFailed(f"HTTP {status}")


async def _exchange(url: WebhookUrl, headers: Mapping[str, str], body: bytes, named_hosts: frozenset[str]) -> int:
    address = await resolve(url, named_hosts)
    tls: dict[str, Any] = {"ssl": ssl.create_default_context(), "server_hostname": url.host} if url.tls else {}
    reader, writer = await asyncio.open_connection(address, url.port, limit=_READ_BYTES, **tls)
    try:
        connection = h11.Connection(h11.CLIENT)
        fixed = {"host": url.authority, "user-agent": "ado", "connection": "close", "content-length": str(len(body))}
        opening = h11.Request(method="POST", target=url.target, headers=list({**fixed, **headers}.items()))
        for event in (opening, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(connection.send(event) or b"")
        with contextlib.suppress(ConnectionError):  # a target may answer and close before it has read the body
            await writer.drain()
        return await _status(connection, reader)
    finally:
        writer.transport.abort()


async def _status(connection: h11.Connection, reader: asyncio.StreamReader) -> int:
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Response):
            return event.status_code
        elif not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("no response")
