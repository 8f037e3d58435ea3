"""When a replica's certificate is reloaded."""

import asyncio
import logging
import ssl

import pytest

from app.replica import tls
from app.replica.tls import CertificateUnusable, ReloadedCertificate


class Files:
    """Files that change once, and cannot be read in the first tries after that."""

    certificate = "cert.pem"

    def __init__(self):
        self.contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(3)]
        self.version, self.loads = 1, 0

    def stamps(self):
        return (self.version,)

    def context(self):
        self.loads += 1
        if self.loads in (3, 4):
            raise CertificateUnusable("cert.pem: Too many open files")
        return self.contexts[min(self.loads, 3) - 1]


async def test_a_new_certificate_that_could_not_be_read_at_once_is_tried_again_and_reported_once(monkeypatch, caplog):
    monkeypatch.setattr(tls, "_POLL_SECONDS", 0.01)
    caplog.set_level(logging.INFO, "ado.api")
    files = Files()
    certificate = ReloadedCertificate(files)
    files.version = 2
    following = asyncio.create_task(certificate.follow())
    async with asyncio.timeout(60):
        while certificate._current is not files.contexts[2]:
            await asyncio.sleep(0.01)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert files.loads == 5
