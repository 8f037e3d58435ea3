"""Calls and subscriptions of the asynchronous client: answers become records, and errors those of ``app.client``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec

from app.client.configuration import ConfiguredServer
from app.client.errors import CHECK_URL, UNREACHABLE, InvalidAnswer, Unreachable, translated
from app.client.events import event_of
from app.client.records import Event
from app.rpc.client import ABSENT, Client, State
from app.rpc.client.tls import Trust

T = TypeVar("T")


class Calls:
    """One connection; each call waits at most ``timeout`` seconds for its answer."""

    def __init__(self, target: ConfiguredServer, timeout: float, on_state: Callable[[State], None] | None) -> None:
        self.server = target
        self.timeout = timeout
        self._on_state = on_state
        self._state = State("lost", target.urls[0], "not connected yet")
        self._client = Client(
            target.urls,
            target.token,
            trust=Trust(target.ca),
            first_contact_seconds=timeout,
            on_state=self._note_state,
        )

    async def open(self) -> None:
        """Connect in the background."""
        await self._client.__aenter__()

    async def close(self) -> None:
        """End the connection and its calls."""
        await self._client.__aexit__(None, None, None)

    def _note_state(self, state: State) -> None:
        self._state = state
        if self._on_state is not None:
            self._on_state(state)

    async def query(self, shape: type[T], path: str, members: Mapping[str, Any]) -> T:
        """Call a query with the members that are not None; return its answer as ``shape``. Raises AdoError."""
        value = _without_none(members)
        return await self._answered(shape, path, lambda: self._client.query(path, value or ABSENT))

    async def mutate(
        self,
        shape: type[T],
        path: str,
        members: Mapping[str, Any],
        nullable: Mapping[str, Any] | None = None,
        *,
        resend: bool = False,
    ) -> T:
        """Call a mutation; a member of ``nullable`` that is None is sent as null. Raises AdoError."""
        value = {**_without_none(members), **(nullable or {})}
        return await self._answered(shape, path, lambda: self._client.mutate(path, value, resend=resend))

    async def _answered(self, shape: type[T], path: str, call: Callable[[], Any]) -> T:
        try:
            with translated():
                async with asyncio.timeout(self.timeout):
                    value = await call()
        except TimeoutError as error:
            message = f"{self._state.url}: no answer to {path} within {self.timeout:g} seconds"
            if self._state.kind != "connected":
                message += f": {self._state.detail}"
            raise Unreachable(message, code=UNREACHABLE, hint=CHECK_URL) from error
        try:
            return msgspec.convert(value, shape)
        except msgspec.ValidationError as error:
            raise _invalid_answer(path, error) from error

    async def events(self, path: str, task_id: str, after: int | None, **options: Any) -> AsyncGenerator[Event, None]:
        """Yield the events of a subscription after a ``seq``. Raises AdoError."""
        cursor = str(after) if after is not None else None
        value = _without_none({"taskId": task_id, **options})
        with translated():
            subscription = self._client.subscribe(path, value, last_event_id=cursor)
            async with aclosing(subscription) as items:
                async for item in items:
                    try:
                        event = event_of(item.data)
                    except msgspec.ValidationError as error:
                        raise _invalid_answer(path, error) from error
                    yield event


def _invalid_answer(path: str, why: Exception) -> InvalidAnswer:
    return InvalidAnswer(f"the answer to {path} is not from an ado server: {why}", code=UNREACHABLE, hint=CHECK_URL)


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def named(**values: Any) -> dict[str, Any]:
    """Return the members of a call's input by their names on the wire, with plain lists and objects for values."""
    return {_wire_name(name): _plain(value) for name, value in values.items()}


def _wire_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(value)
    return msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
