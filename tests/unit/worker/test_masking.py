"""Masking: no secret leaves in any form, however it is divided over reads, and every other byte is unchanged."""

import base64
import json
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.masking import MASK, Masker, Secrets

SECRET = "correct-horse/battery+staple"
TOKEN = b"ghp_" + b"a1B2" * 9


def streamed(secrets, pieces):
    masker = Masker(secrets)
    return b"".join(masker.feed(piece) for piece in pieces) + masker.let_go()


@pytest.mark.parametrize("shift", range(3))
@pytest.mark.parametrize("tail", [b"", b"!", b"!!"])
def test_the_base64_of_a_text_around_a_secret_tells_nothing_of_it(shift, tail):
    coded = base64.b64encode(b"x" * shift + SECRET.encode() + tail)
    clear = Secrets([SECRET]).mask(b"before " + coded + b" after")
    assert MASK in clear
    assert clear.startswith(b"before ")
    assert clear.endswith(b" after")
    left = clear.removeprefix(b"before ").removesuffix(b" after").replace(MASK, b"")
    assert len(left) <= 8  # the characters that the neighbours decide


def test_a_secret_is_masked_in_json_and_in_urls():
    secrets = Secrets(['quote"and\\slash'])
    assert secrets.mask(json.dumps({"a": 'quote"and\\slash'}).encode()) == b'{"a": "***"}'


@pytest.mark.parametrize(
    "text",
    [TOKEN, b"sk-ant-api03-" + b"x" * 40, b"AKIA" + b"A" * 16, b"ado_" + b"x" * 43, b"github_pat_" + b"x" * 60],
)
def test_what_looks_like_a_token_is_masked(text):
    assert Secrets().mask(b"key=" + text + b"; next") == b"key=***; next"


@pytest.mark.parametrize(
    "text",
    [
        b"task-12 disk-space", b"sk-short", b"ghp_x", b"xghp_" + b"a" * 36, b"ado_x run",
        b"AKIA" + b"a" * 16, b"b64+AKIA" + b"A" * 16, b"b64/AIza" + b"x" * 35,
    ],
)  # fmt: skip
def test_what_only_resembles_one_is_not(text):
    assert Secrets().mask(text) == text


def test_values_too_short_to_be_secrets_are_left_alone():
    assert Secrets(["1", "", "true"]).mask(b"1 is true") == b"1 is true"


def test_two_secrets_side_by_side_are_both_masked():
    assert Secrets(["secret-one", "secret-two"]).mask(b"secret-onesecret-two") == b"******"


@pytest.mark.parametrize("secret", [SECRET.encode(), TOKEN, base64.b64encode(SECRET.encode())])
def test_a_secret_divided_anywhere_is_masked(secret):
    whole = b"a " + secret + b" z"
    for cut in range(len(whole) + 1):
        clear = streamed(Secrets([SECRET]), [whole[:cut], whole[cut:]])
        assert clear == Secrets([SECRET]).mask(whole), cut


def test_what_was_let_go_too_early_costs_only_itself():
    masker = Masker(Secrets([SECRET]))
    said = masker.feed(b"a cor") + masker.let_go() + masker.feed(SECRET.encode()[3:] + b" z") + masker.let_go()
    assert said == b"a cor*** z"


def test_much_of_a_secret_is_waited_for_longer_than_little():
    masker = Masker(Secrets([SECRET]))
    assert (masker.feed(b"x"), masker.patience) == (b"x" if masker.patience is None else b"", masker.patience)
    masker.feed(b" c")
    little = masker.patience
    masker.feed(b"orrect-horse")
    assert little < masker.patience
    masker.feed(b" not")
    assert masker.patience is None or masker.patience == little


PARTS = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([SECRET.encode(), b" " + TOKEN, SECRET.encode()[:9], b"sk-", base64.b64encode(SECRET.encode())]),
    st.sampled_from([b" AKIA" + b"A" * 16, b"+AKIA", b"A" * 16, b"abc"]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PARTS, max_size=8), st.lists(st.integers(0, 300), max_size=8))
def test_however_a_stream_is_divided_it_is_masked_alike(parts, cuts):
    whole = b"".join(parts)
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[a:b] for a, b in pairwise(edges)]
    clear = streamed(Secrets([SECRET]), pieces)
    marks = re.compile(rb"(\*\*\*)+")  # how many stand side by side depends on the reads
    assert marks.sub(MASK, clear) == marks.sub(MASK, Secrets([SECRET]).mask(whole))
    assert SECRET.encode() not in clear
    assert b" " + TOKEN not in clear


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=200).map(lambda data: data.replace(b"_", b"").replace(b"-", b"").lower())))
def test_bytes_without_a_secret_pass_unchanged(pieces):
    assert streamed(Secrets(["no-such-value-in-there"]), pieces) == b"".join(pieces)
