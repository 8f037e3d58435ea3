"""Encryption at rest of the environments of tasks.

The key is ``ADO_DATA_KEY``; Postgres, its logs and its backups contain only ciphertext. With several keys, the first
one encrypts and every one decrypts, so a key is replaced by putting the new one in front. The scheme is Fernet (AES-128
in CBC mode with HMAC-SHA256) of the cryptography library. The library is imported only where a key is set, because
every command of the CLI reads settings.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

_KEY_BYTES = 32


class KeyInvalid(ValueError):
    """A data key is not 32 bytes in base64; the message does not contain the key."""


class EnvironmentUnreadable(Exception):
    """None of the keys decrypts an environment."""


class EnvironmentCipher:
    """Encrypts and decrypts environments; without a key it encrypts none."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Use keys of 32 bytes each, in base64 of either alphabet. Raises KeyInvalid."""
        self._cipher = _cipher(keys) if keys else None

    def seal(self, environment: Mapping[str, str]) -> str | None:
        """Return the ciphertext of an environment; None without a key or variables."""
        if self._cipher is None or not environment:
            return None
        return self._cipher.encrypt(orjson.dumps(dict(environment))).decode()

    def open(self, sealed: str) -> dict[str, str]:
        """Return the environment of a ciphertext. Raises EnvironmentUnreadable."""
        from cryptography.fernet import InvalidToken  # noqa: PLC0415

        try:
            if self._cipher is None:
                raise InvalidToken
            environment: dict[str, str] = orjson.loads(self._cipher.decrypt(sealed.encode()))
        except InvalidToken:
            raise EnvironmentUnreadable from None
        return environment


def _cipher(keys: Sequence[str]) -> MultiFernet:
    from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415

    return MultiFernet([Fernet(base64.urlsafe_b64encode(decode_key(key))) for key in keys])


def decode_key(key: str) -> bytes:
    """Return the 32 bytes of a key in base64 of either alphabet. Raises KeyInvalid."""
    try:
        raw = base64.b64decode(key.translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise KeyInvalid("a key is not 32 bytes in base64")
    return raw
