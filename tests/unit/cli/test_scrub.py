"""Secrets are removed from the text of a support bundle in every form in which they are likely."""

import base64
import json
from urllib.parse import quote

import pytest

from cli.scrub import scrub

SECRET = 'pa~/ss?>"wörd-7>~7?'  # its base64 has a plus or a slash at every offset
RAW = SECRET.encode()


@pytest.mark.parametrize(
    "text",
    [
        RAW,
        quote(RAW, safe="").encode(),
        json.dumps(SECRET).encode(),
        RAW.hex().encode(),
        RAW.hex().upper().encode(),
        *(base64.b64encode(b"x" * offset + RAW) for offset in range(3)),
        *(base64.urlsafe_b64encode(b"x" * offset + RAW) for offset in range(3)),
    ],
)
def test_a_known_secret_is_removed_in_each_form(text):
    middle = text[4:-4]
    assert b"[secret]" in scrub(b"before " + text + b" after", [SECRET])
    assert middle not in scrub(b"before " + text + b" after", [SECRET])


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        (b"ado_0123456789abcdefghij", b"[secret]"),
        (b"postgresql://me:word@host/db", b"postgresql://[secret]@host/db"),
        (b"Authorization: Bearer abc", b"Authorization: Bearer [secret]"),
        (b"password = hunter2", b"[secret]"),
        (b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----", b"[secret]"),
    ],
)
def test_a_text_of_the_form_of_a_secret_is_removed(text, scrubbed):
    assert scrub(text, []) == scrubbed


def test_a_longer_secret_is_removed_before_a_part_of_it():
    assert scrub(b"secretvalue-long", ["secretvalue", "secretvalue-long"]) == b"[secret]"


def test_a_value_too_short_to_be_a_secret_is_kept():
    assert scrub(b"user 12345", ["12345"]) == b"user 12345"
