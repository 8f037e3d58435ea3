"""TLS of a replica: its certificate follows the files that hold it, and clients may present one.

New files are used for new connections; what is open goes on. A whole new context is made and only then takes the place
of the old one, so files that are being replaced, and do not fit each other for a moment, do no harm.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass
from typing import Any

from app.rpc.pem import Stamp, stamp, why_unusable

_log = logging.getLogger("ado.api")
_LOOK_SECONDS = 1.0
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
        """Return a context made of the files as they are now. Raises CertificateUnusable."""
        names = ", ".join(filter(None, (self.certificate, self.key, self.client_ca)))
        try:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.client_ca or None)
            # The password: a key that needs one is refused, instead of asked for on a terminal that nobody watches.
            context.load_cert_chain(self.certificate, self.key or None, password="")
        except (OSError, ValueError) as error:
            raise CertificateUnusable(f"{names}: {why_unusable(error, 'certificate and key')}") from error
        context.set_alpn_protocols(_ALPN)
        if self.client_ca:
            context.verify_mode = ssl.CERT_OPTIONAL  # people have none; which callers need one is the gate's to say
        return context

    def stamps(self) -> tuple[Stamp | None, ...]:
        """Return what tells whether the files were replaced or written."""
        return tuple(stamp(path) for path in (self.certificate, self.key, self.client_ca) if path)


class FollowedCertificate:
    """``context`` serves each new connection with the newest certificate. Raises CertificateUnusable at first."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._seen = files.stamps()
        self._current = files.context()
        self.context = files.context()
        self.context.sni_callback = self._choose

    def _choose(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    async def follow(self) -> None:
        """Look for new files until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            stamps = await asyncio.to_thread(self._files.stamps)
            if stamps == self._seen:
                continue
            self._seen = stamps
            try:
                self._current = await asyncio.to_thread(self._files.context)
            except CertificateUnusable as error:
                _log.warning("the new certificate cannot be used; the old one stays", extra={"detail": str(error)})
            else:
                _log.info("the certificate was renewed", extra={"file": self._files.certificate})


def has_certificate(transport: asyncio.BaseTransport) -> bool:
    """Whether a connection's peer has presented a certificate; only one that the client CA signed gets this far."""
    connection = transport.get_extra_info("ssl_object")
    return connection is not None and bool(connection.getpeercert())
