"""TLS of a replica: a certificate that is reloaded when its files change, and certificates of clients.

New connections use the new files; open ones go on. The old context is replaced only by a complete new one, so
certificate and key may differ for a moment while they are being replaced.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass
from typing import Any

from app.rpc.client.tls import Stamp, stamp, why_unusable

_log = logging.getLogger("ado.api")
_POLL_SECONDS = 1.0
_ALPN = ["http/1.1"]


class CertificateUnusable(Exception):
    """A certificate, key or CA cannot be used; the text names the files."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Paths of PEM files; without ``client_ca`` no client is asked for a certificate."""

    certificate: str
    key: str
    client_ca: str = ""

    def context(self) -> ssl.SSLContext:
        """Return a context made of the current files. Raises CertificateUnusable."""
        names = ", ".join(filter(None, (self.certificate, self.key, self.client_ca)))
        try:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.client_ca or None)
            # With a password given, an encrypted key is an error; without one, Python would ask for it on the terminal.
            context.load_cert_chain(self.certificate, self.key or None, password="")
        except (OSError, ValueError) as error:
            raise CertificateUnusable(f"{names}: {why_unusable(error, 'certificate and key')}") from error
        context.set_alpn_protocols(_ALPN)
        if self.client_ca:
            context.verify_mode = ssl.CERT_OPTIONAL  # people have none; the gate decides which callers need one
        return context

    def stamps(self) -> tuple[Stamp | None, ...]:
        """Return values that change when a file is replaced or written."""
        return tuple(stamp(path) for path in (self.certificate, self.key, self.client_ca) if path)


class ReloadedCertificate:
    """A certificate that is reloaded; ``context`` gives each new connection the newest one.

    Raises CertificateUnusable when the first one cannot be used.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._stamps = files.stamps()
        self._current = files.context()
        self.context = files.context()
        self.context.sni_callback = self._choose

    def _choose(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    async def follow(self) -> None:
        """Reload changed files until cancelled; what cannot be read, as without free descriptors, is tried again."""
        refused: tuple[Stamp | None, ...] = ()
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            stamps = await asyncio.to_thread(self._files.stamps)
            if stamps == self._stamps:
                continue
            try:
                self._current = await asyncio.to_thread(self._files.context)
            except CertificateUnusable as error:
                if stamps != refused:
                    _log.warning("the new certificate cannot be used; the old one stays", extra={"detail": str(error)})
                refused = stamps
            else:
                self._stamps = stamps
                _log.info("the certificate was renewed", extra={"file": self._files.certificate})


def has_certificate(transport: asyncio.BaseTransport) -> bool:
    """Return whether a peer has presented a certificate; the handshake accepts only those of the client CA."""
    connection = transport.get_extra_info("ssl_object")
    return connection is not None and bool(connection.getpeercert())
