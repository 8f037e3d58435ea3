"""A WebSocket client for load, as light as it can be, so that it does not measure itself.

It speaks the frames that ado's replicas send (whole text frames, unmasked) and masks with zeros.
"""

import asyncio
import base64
import os
import struct
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import urlsplit

import orjson


class LightSocket(asyncio.Protocol):
    """One socket; ``on_text(bytes)`` gets every frame."""

    def __init__(self, on_text: Callable[[bytes], None]) -> None:
        self._on_text = on_text
        self._buffer = bytearray()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: Any = None

    @classmethod
    async def open(cls, url: str, on_text: Callable[[bytes], None], token: str = "", path: str = "/trpc") -> Self:
        """Connect to an origin."""
        parts = urlsplit(url)
        _, socket = await asyncio.get_running_loop().create_connection(lambda: cls(on_text), parts.hostname, parts.port)
        key = base64.b64encode(os.urandom(16)).decode()
        head = [f"GET {path} HTTP/1.1", f"Host: {parts.netloc}", "Upgrade: websocket", "Connection: Upgrade"]
        head += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", f"Authorization: Bearer {token}", "", ""]
        socket._transport.write("\r\n".join(head).encode())
        await socket._opened
        return socket

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        """End what waits for the upgrade."""
        if not self._opened.done():
            self._opened.set_exception(ConnectionError("the upgrade was refused"))

    def send(self, text: bytes) -> None:
        """Send one frame."""
        size = len(text)
        if size < 126:
            head = struct.pack("!BB", 0x81, 0x80 | size)
        elif size < 65536:
            head = struct.pack("!BBH", 0x81, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x81, 0x80 | 127, size)
        self._transport.write(head + b"\0\0\0\0" + text)

    def data_received(self, data: bytes) -> None:
        """Cut the bytes into frames."""
        buffer = self._buffer
        buffer += data
        if not self._opened.done():
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if b" 101 " not in buffer[:32]:
                self._transport.close()
                return
            del buffer[: end + 4]
            self._opened.set_result(None)
        position, filled = 0, len(buffer)
        while filled - position >= 2:
            size, start = buffer[position + 1] & 0x7F, position + 2
            if size == 126:
                start += 2
                if filled < start:
                    break
                size = int.from_bytes(buffer[start - 2 : start])
            elif size == 127:
                start += 8
                if filled < start:
                    break
                size = int.from_bytes(buffer[start - 8 : start])
            if filled < start + size:
                break
            opcode = buffer[position] & 0x0F
            position = start + size
            if opcode == 1:
                self._heard(bytes(buffer[start:position]))
        del buffer[:position]

    def _heard(self, text: bytes) -> None:
        if text == b"PING":  # of a replica that hears nothing for a while
            self.send(b"PONG")
        else:
            self._on_text(text)

    def close(self) -> None:
        """Cut the connection."""
        self._transport.close()


class LightClient:
    """Calls and subscriptions over one light socket, without reconnecting."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._streams: dict[int, Callable[[Any], None]] = {}
        self._next = 0
        self.socket: LightSocket

    @classmethod
    async def open(cls, url: str, token: str) -> Self:
        """Connect."""
        client = cls()
        client.socket = await LightSocket.open(url, client._heard, token)
        return client

    async def call(self, path: str, value: Any, method: str = "mutation") -> Any:
        """Carry out one call; raises RuntimeError for an error."""
        self._next += 1
        number = self._next
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        params = {"path": path, "input": value}
        self.socket.send(orjson.dumps({"id": number, "method": method, "params": params}))
        return await answer

    def subscribe(self, path: str, value: Any, on_data: Callable[[Any], None]) -> None:
        """Get the data of every item."""
        self._next += 1
        self._streams[self._next] = on_data
        params = {"path": path, "input": value}
        self.socket.send(orjson.dumps({"id": self._next, "method": "subscription", "params": params}))

    def _heard(self, text: bytes) -> None:
        frame = orjson.loads(text)
        number = frame.get("id")
        if (answer := self._waiting.pop(number, None)) is not None:
            if answer.done():  # nobody waits any more
                return
            if "error" in frame:
                answer.set_exception(RuntimeError(frame["error"]["message"]))
            else:
                answer.set_result(frame["result"].get("data"))
        elif number in self._streams and frame.get("result", {}).get("type") == "data":
            data = frame["result"]["data"]
            self._streams[number](data["data"] if "id" in frame["result"] else data)

    def close(self) -> None:
        """Cut the connection."""
        self.socket.close()
