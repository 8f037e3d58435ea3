"""Masking a stream: how it is divided changes nothing, and no more is held back than a secret needs."""

import base64
import json
import time
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.secrets import KEY, PASSWORD, SECRET, TOKEN, TOKENS, streamed

from worker.output.masking import MASK, Masker, Secrets


@pytest.mark.parametrize("division", [1, 3, 7, 100])
def test_only_what_stands_alone_is_a_token(division):
    """The characters before it decide, also those of an earlier read; in base64, more of them."""
    text = b"xghp_" + b"a" * 36 + b" ghp_" + b"a" * 36 + b"/AKIA" + b"A" * 16 + b".AKIA" + b"A" * 16 + b"abc ado_x"
    pieces = [text[start : start + division] for start in range(0, len(text), division)]
    assert streamed(Secrets(), pieces) == b"xghp_" + b"a" * 36 + b" ***/AKIA" + b"A" * 16 + b".***abc ado_x"


@pytest.mark.parametrize("division", [1, 5, 30, 47, 48])
def test_the_rest_of_a_token_is_dropped_as_it_comes_and_what_follows_is_not(division):
    text = TOKEN + b"-more_of_it, " + TOKEN + b"." + TOKEN + b"\n"
    pieces = [text[start : start + division] for start in range(0, len(text), division)]
    assert streamed(Secrets(), pieces) == b"***, ***.***\n"


def turns(secrets, data):
    """Return how often a coroutine gave way, and its result; there is no event loop in which it could wait."""
    masking, given = secrets.mask_in_turns(data), 0
    while True:
        try:
            masking.send(None)
        except StopIteration as end:
            return given, end.value
        given += 1


def test_the_event_loop_gets_a_turn_after_each_piece_of_a_long_text():
    secrets, piece = Secrets([SECRET]), b"." * (64 * 1024 - 9) + SECRET.encode()
    long = piece + b"." * 64 * 1024
    assert turns(secrets, long[: 64 * 1024]) == (0, long[: 64 * 1024 - 9] + SECRET.encode()[:9])
    assert turns(secrets, long) == (3, b"." * (64 * 1024 - 9) + MASK + b"." * 64 * 1024)
    assert turns(secrets, long[: 64 * 1024 + 1]) == (2, long[: 64 * 1024 + 1])


def test_a_stream_that_holds_nothing_is_flushed_without_effect():
    masker = Masker(Secrets([SECRET]))
    assert (masker.patience, masker.flush(), masker.feed(b"")) == (None, b"", b"")
    assert masker.feed(b"correct-h") == b""
    assert masker.flush() == b"correct-h"
    assert masker.patience is None
    assert masker.flush() == b""


def test_overlapping_masks_join_in_any_division_of_the_stream():
    secrets, whole = Secrets(["aaaaab", "cccccc", "abccccccdddd"]), b"-aaaaabccccccdddd-"
    assert secrets.mask(whole) == b"-***-"
    for cut in range(len(whole)):
        assert streamed(secrets, [whole[:cut], whole[cut:]]) == b"-***-"


def test_an_added_value_is_masked_in_text_that_is_already_held():
    secrets = Secrets([SECRET])
    masker = Masker(secrets)
    assert masker.feed(b"new-value-1 ") == b"new-value-1 "
    secrets.add("new-value-1")
    assert masker.feed(b"new-va") + masker.feed(b"lue-1 " + SECRET.encode() + b" .") + masker.flush() == b"*** *** ."


@pytest.mark.parametrize("secret", [SECRET.encode(), TOKEN, base64.b64encode(SECRET.encode())])
def test_a_secret_divided_at_any_place_is_masked(secret):
    whole = b"a " + secret + b" z"
    expected = b"a ***= z" if secret.endswith(b"=") else b"a *** z"
    for cut in range(len(whole) + 1):
        clear = streamed(Secrets([SECRET]), [whole[:cut], whole[cut:]])
        assert clear == Secrets([SECRET]).mask(whole), cut
        assert len(clear) <= len(expected) + 4, cut


def test_a_secret_behind_held_text_is_masked():
    masker = Masker(Secrets([SECRET, "000000"]))
    assert masker.feed(b"github_pat_000000") == b""
    assert masker.flush() == b"github_pat_***"
    assert masker.feed(b"x 000000") == b"x ***"


def test_text_released_early_does_not_affect_later_text():
    masker = Masker(Secrets([SECRET]))
    said = masker.feed(b"a cor") + masker.flush() + masker.feed(SECRET.encode()[3:] + b" z") + masker.flush()
    assert said == b"a cor*** z"


def test_a_longer_part_of_a_secret_is_held_for_longer():
    masker = Masker(Secrets([SECRET]))
    assert masker.feed(b" c") == b" "
    assert masker.patience == 0.05
    assert masker.feed(b"or") == b""
    assert masker.patience == 0.05
    assert masker.feed(b"r") == b""
    assert masker.patience == 1.0
    assert masker.feed(b"ect-horse") == b""
    assert masker.patience == 1.0
    assert masker.feed(b" not") == b"correct-horse not"
    assert masker.patience is None


def test_a_line_is_not_held_back_because_its_last_characters_begin_a_form():
    masker = Masker(Secrets([SECRET, KEY]))
    for end in (b"c", b"co", b"cor", b"0", b"00Z"):
        assert masker.feed(b"a line " + end + b"\n") == b"a line " + end + b"\n"
        assert masker.patience is None


def test_held_text_is_bounded():
    masker = Masker(Secrets([KEY, SECRET]))
    said = sum(len(masker.feed(SECRET[:20].encode() + b" " * 1000)) for _ in range(1000))
    assert 1_020_000 - said < 4096
    assert len(masker._tail) < 4096


def test_a_secret_of_one_letter_repeated_costs_a_linear_time():
    began = time.monotonic()
    clear = streamed(Secrets(["a" * 3000]), [b"a" * 65536] * 8)
    assert set(clear) == {ord("*")}
    assert time.monotonic() - began < 20


PARTS = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([SECRET.encode(), b" " + TOKEN, SECRET.encode()[:9], b"sk-", base64.b64encode(SECRET.encode())]),
    st.sampled_from(
        [b" AKIA" + b"A" * 16, b"+AKIA", b"A" * 16, b"abc", b"\\", b"\\n", b"n", b"\n", b" ", b"\r\n", b"\\\\r"]
    ),
    st.sampled_from(
        [json.dumps(PASSWORD)[1:-1].encode(), PASSWORD.encode(), PASSWORD[:7].encode(), b"nabcab", b"abcabcab"]
    ),
    st.sampled_from([base64.encodebytes(KEY.encode())[:200], KEY[:120].encode(), KEY[90:160].encode(), b"nab", b"cab"]),
)
ALL = Secrets([SECRET, PASSWORD, KEY, "nabcab", "abcabcab\\nx"])


@settings(max_examples=400, deadline=None)
@given(st.lists(PARTS, max_size=8), st.lists(st.integers(0, 300), max_size=8))
@example([b"\\", b"nabcab", b"\\", b"n", b"cab"], [1, 2, 3])
def test_masking_does_not_depend_on_the_division_of_the_stream(parts, cuts):
    whole = b"".join(parts)
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    clear = streamed(ALL, [whole[a:b] for a, b in pairwise(edges)])
    assert clear == ALL.mask(whole)
    assert clear == streamed(ALL, [whole[at : at + 1] for at in range(len(whole))])
    assert SECRET.encode() not in clear
    assert b" " + TOKEN not in clear


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=200).map(lambda data: data.replace(b"_", b"").replace(b"-", b"").lower())))
def test_bytes_without_a_secret_pass_unchanged(pieces):
    assert streamed(Secrets(["no-such-value-in-there"]), pieces) == b"".join(pieces)


def test_a_token_does_not_begin_within_a_word_of_an_earlier_read():
    masker = Masker(Secrets())
    assert [masker.feed(piece) for piece in (b"zzs", b"k-")] == [b"zzs", b"k-"]


@pytest.mark.parametrize("head", TOKENS)
def test_a_token_is_held_until_its_last_needed_character(head):
    masker = Masker(Secrets())
    assert masker.feed(f" {head}{'A' * (TOKENS[head] - 1)}".encode()) == b" "
    assert masker.feed(b"A") == MASK


def test_the_mask_of_a_secret_that_begins_a_longer_one_is_not_held_back():
    masker = Masker(Secrets(["abcdefgh", "abcdefghijkl"]))
    assert [masker.feed(piece) for piece in (b"abcdefgh", b"ijkl|")] == [MASK, b"|"]


def test_no_mask_follows_text_that_was_released_before_its_value_was_known():
    secrets = Secrets(["abcdefghXYZ"])
    masker = Masker(secrets)
    assert masker.feed(b"abcdefgh") + masker.flush() == b"abcdefgh"
    secrets.add("abcdefgh")
    assert masker.feed(b"|") == b"|"
