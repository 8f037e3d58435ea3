"""TLS of a client: the CA that it trusts, and the certificate that it presents."""

from __future__ import annotations

import functools
import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

Stamp = tuple[int, int, int]
"""Inode, size and time of change of a file."""


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


def stamp(path: str) -> Stamp | None:
    """Return a value that changes when the file is replaced or written; None when there is no file."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def why_unusable(error: OSError | ValueError, content: str) -> str:
    """Return why a file cannot be used; ``content`` is what it should hold."""
    if isinstance(error, ssl.SSLError):
        return f"no usable {content} in PEM ({error.reason or error})"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


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
