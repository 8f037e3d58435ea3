"""Environments at rest: sealed by the first key, opened by any, and unreadable without one."""

import base64
import os

import pytest

from app.core.environment_cipher import EnvironmentCipher, EnvironmentUnreadable
from app.core.settings import SettingsError
from app.settings import AppSettings

ENVIRONMENT = {"API_KEY": "hunter2-value", "LANG": "č\n"}


def new_key():
    return base64.b64encode(os.urandom(32)).decode()


def test_a_sealed_environment_holds_no_value_and_opens_again():
    cipher = EnvironmentCipher([new_key()])
    sealed = cipher.seal(ENVIRONMENT)
    assert "hunter2" not in sealed
    assert b"hunter2" not in base64.urlsafe_b64decode(sealed)
    assert cipher.open(sealed) == ENVIRONMENT


def test_a_replaced_key_still_opens_what_it_sealed():
    old, new = new_key(), new_key()
    sealed = EnvironmentCipher([old]).seal(ENVIRONMENT)
    both = EnvironmentCipher([new, old])
    assert both.open(sealed) == ENVIRONMENT
    with pytest.raises(EnvironmentUnreadable):
        EnvironmentCipher([old]).open(both.seal(ENVIRONMENT))


@pytest.mark.parametrize("sealed", ["", "x", "gAAAAABm", "\u00e9", "=" * 100])
def test_a_changed_ciphertext_is_unreadable(sealed):
    with pytest.raises(EnvironmentUnreadable):
        EnvironmentCipher([new_key()]).open(sealed)


def test_without_a_key_nothing_is_sealed_or_opened():
    sealed = EnvironmentCipher([new_key()]).seal(ENVIRONMENT)
    assert EnvironmentCipher([]).seal(ENVIRONMENT) is None
    with pytest.raises(EnvironmentUnreadable):
        EnvironmentCipher([]).open(sealed)


@pytest.mark.parametrize("key", ["short", "", "é" * 43, base64.b64encode(bytes(31)).decode(), "!" * 44])
def test_a_bad_key_is_refused_at_start_without_being_repeated(key):
    with pytest.raises(SettingsError, match="openssl rand -base64 32") as caught:
        AppSettings(dsn="postgresql://x", data_key=(key,))
    assert not key or key not in str(caught.value)


def test_the_settings_never_show_a_key():
    key = new_key()
    assert key not in repr(AppSettings(dsn="postgresql://x", data_key=(key,)))
