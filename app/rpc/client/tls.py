"""TLS of a client: the CA that it trusts, and the certificate that it presents."""

from __future__ import annotations

import functools
import ipaddress
import os
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.rpc.pem import stamp, why_unusable


class TrustUnusable(Exception):
    """A CA, certificate or key cannot be used; the text names the file."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Paths of PEM files. Without ``ca`` the system's CAs are trusted, or those that SSL_CERT_FILE names."""

    ca: str = ""
    certificate: str = ""
    """The client's own certificate."""
    key: str = ""

    def context(self) -> ssl.SSLContext:
        """Return a context made of the current files; a renewed certificate is used at once. Raises TrustUnusable."""
        files = (self.ca, self.certificate, self.key, os.environ.get("SSL_CERT_FILE", ""))
        return _context(self, tuple(stamp(file) for file in files if file))


SYSTEM = Trust()


@functools.lru_cache(maxsize=4)
def _context(trust: Trust, _stamps: tuple[object, ...]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=trust.ca or None)
    except (OSError, ValueError) as error:
        raise TrustUnusable(f"{trust.ca}: {why_unusable(error, 'CA')}") from error
    if trust.certificate:
        try:
            context.load_cert_chain(trust.certificate, trust.key or None, password="")
        except (OSError, ValueError) as error:
            names = ", ".join(filter(None, (trust.certificate, trust.key)))
            raise TrustUnusable(f"{names}: {why_unusable(error, 'certificate and key')}") from error
    return context


def untrusted(error: BaseException) -> str | None:
    """Return why a server's certificate is not trusted, with the next step; None for any other error."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return None
    return f"the server's certificate is not trusted ({error.verify_message}); name its CA with --ca or ADO_CA"


def is_clear_text(url: str) -> bool:
    """Return whether a token sent to an origin can be read on the way: plain HTTP to another machine."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "http" and not is_loopback(parts.hostname or "")
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Return whether a host name or address means only this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
