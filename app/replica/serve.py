"""Runs a replica: uvicorn on a socket that is already bound, and a stop that lets clients move first.

Uvicorn closes connections before it ends the application, but a drain needs them open. The stop signal is therefore
handled here: the application drains, and then uvicorn ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import uvicorn

from app.core.lifeline import on_end_in
from app.core.watchdog import watch
from app.replica.connection_limits import connection_limits, wire_limits
from app.replica.connections import Peers
from app.replica.http_protocol import ReplicaHttpProtocol, should_log
from app.replica.main import create_app
from app.replica.tls import CertificateFiles, ReloadedCertificate
from app.replica.websocket_protocol import ReplicaWebSocket
from app.rpc.client.tls import is_loopback
from app.rpc.request_id import RequestIds
from app.rpc.server.application import Upgrades
from app.settings import AppSettings

_log = logging.getLogger("ado.api")
# Most load balancers keep an idle connection for a minute. If the replica ends it first, a call can meet the close and
# is answered with 502.
_IDLE_SECONDS = 75


class _ReplicaServer(uvicorn.Server):
    handshake_seconds = 5.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start and listen, with a time limit for TLS handshakes; that of uvicorn would be a minute."""
        if self.config.ssl is None:
            await super().startup(sockets)
            return
        await super().startup([])
        for listener in sockets or []:
            self.servers.append(
                await asyncio.get_running_loop().create_server(
                    self._protocol,
                    sock=listener,
                    ssl=self.config.ssl,
                    backlog=self.config.backlog,
                    ssl_handshake_timeout=self.handshake_seconds,
                )
            )

    def _protocol(self) -> asyncio.Protocol:
        make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to ``serve``."""
        yield


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises OSError when the port is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(1024)
    listener.setblocking(False)
    return listener


def serve(settings: AppSettings, listener: socket.socket, lifeline: int | None = None) -> None:
    """Serve until SIGTERM, SIGINT or the lifeline's end of file; a second signal ends at once.

    Raises CertificateUnusable.
    """
    import uvloop  # noqa: PLC0415 - not there on every platform

    certificate = None
    if settings.tls_cert:
        certificate = ReloadedCertificate(CertificateFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca))
    elif not is_loopback(settings.host):
        _log.warning("tokens travel in clear text: there is no --tls-cert", extra={"host": settings.host})

    # A full collection visits the objects of all open sockets: with a thousand it stops the replica for 0.3 s, so it
    # must be rare. Most garbage has no cycles, and objects from the start-up are never garbage.
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)
    uvloop.run(_serve(settings, listener, lifeline, certificate))


async def _serve(
    settings: AppSettings, listener: socket.socket, lifeline: int | None, certificate: ReloadedCertificate | None
) -> None:
    app = create_app(settings)
    host, port = listener.getsockname()[:2]
    app.state["address"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    limits, peers = wire_limits(settings), Peers(connection_limits(settings), settings.trusted_proxies)
    config = uvicorn.Config(
        RequestIds(Upgrades(app, app.state["sockets"], base="/trpc")),
        http=partial(ReplicaHttpProtocol, peers=peers, limits=limits),  # type: ignore[arg-type]
        h11_max_incomplete_event_size=settings.opening_bytes,
        ws=partial(ReplicaWebSocket, limits=limits),  # type: ignore[arg-type]
        ws_max_size=settings.body_bytes,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=5,
        server_header=False,
        date_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
    )
    logging.getLogger("uvicorn.error").addFilter(should_log)
    config.load()
    if certificate is not None:
        config.ssl = certificate.context
    server = _ReplicaServer(config)
    server.handshake_seconds = settings.opening_seconds
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if lifeline is not None:
        on_end_in(loop, lifeline, stopping.set)
    watch(settings.loop_watchdog_seconds)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="uvicorn")
    waiting = asyncio.create_task(stopping.wait(), name="stop signal")
    watching = [asyncio.create_task(peers.watch(), name="connections")]
    if certificate is not None:
        watching.append(asyncio.create_task(certificate.follow(), name="certificate"))
    await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    await _finish(server, serving, app.state.get("drain"))
    for task in watching:
        task.cancel()


async def _finish(
    server: uvicorn.Server, serving: asyncio.Task[None], drain: Callable[[], Awaitable[None]] | None
) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, os._exit, 1)
    if drain is not None and not serving.done():
        await drain()
    server.should_exit = True
    with contextlib.suppress(asyncio.CancelledError):
        await serving
