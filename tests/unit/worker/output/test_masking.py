"""Masking: no secret leaves in any everyday form, however it is divided over reads; every other byte is unchanged.

What is expected is written out, or made by the commands that print secrets in daily work; nothing is compared with
what the masker itself says, but where streams are compared with the whole.
"""

import base64
import html
import json
import subprocess
import time
import urllib.parse
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.output.masking import MASK, Masker, Secrets, may_be_token, merged
from worker.output.secret_forms import is_short

SECRET = "correct-horse/battery+staple"
PASSWORD = 'p@ss/w0rd+with:odd?"chars\\&<99> \u00e9'
LINES = [f"{number:02d}Zq8vXw3Lk7PmTy5Rb9NcHd2Gf6Js4Wa0EuIoPlKjHgFdSaQwErTyUiOpAsDf" for number in range(24)]
KEY = "\n".join(["-----BEGIN TEST KEY-----", *LINES, "-----END TEST KEY-----"])
TOKEN = b"ghp_" + b"a1B2" * 9


def streamed(secrets, pieces):
    masker = Masker(secrets)
    return b"".join(masker.feed(piece) for piece in pieces) + masker.flush()


def printed(command, value, tmp_path):
    """Return what a shell command prints of the file ``secret``."""
    (tmp_path / "secret").write_bytes(value.encode())
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=True)
    return done.stdout + done.stderr


def pieces_of(text, size=8):
    return [text[start : start + size] for start in range(0, len(text) - size + 1, size)]


TOKENS = {
    "sk-ant-": 20, "sk-proj-": 20, "sk-": 32, "ghp_": 36, "gho_": 36, "ghu_": 36, "ghs_": 36, "ghr_": 36,
    "github_pat_": 40, "glpat-": 20, "xoxb-": 20, "xoxp-": 20, "npm_": 36, "pypi-": 40, "AIza": 35, "hf_": 30,
    "AKIA": 16, "ASIA": 16, "ado_": 43,
}  # fmt: skip


@pytest.mark.parametrize("head", TOKENS)
def test_a_token_is_masked_from_its_least_length_on(head):
    least = TOKENS[head]
    for size, masked in ((least - 1, False), (least, True), (least + 1, True)):
        token = head.encode() + b"A" * size
        expected = b"***" if masked else token
        assert Secrets().mask(token) == expected
        assert Secrets().mask(b" " + token + b" ") == b" " + expected + b" "
        assert streamed(Secrets(), [token[at : at + 1] for at in range(len(token))]) == expected
        assert may_be_token(token) is (not masked or (size + len(head) < 35 and head.startswith("sk-")))


def test_the_beginning_of_a_token_may_become_one():
    assert all(may_be_token(head[:size].encode()) for head in TOKENS for size in range(1, len(head) + 1))
    assert not any(may_be_token(text) for text in (b"q", b"gh_", b"hp_"))


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


def test_spans_that_overlap_are_joined():
    assert merged([(7, 10), (0, 1), (5, 6), (4, 8), (10, 12)]) == [(0, 1), (4, 10), (10, 12)]
    assert merged([(1, 9), (2, 3)]) == [(1, 9)]
    assert merged([]) == []


@pytest.mark.parametrize(
    ("value", "text", "masked"),
    [
        ("zzzzzz", "-zzzzzz-", "-***-"),
        ("zzzzzz", "-zzz zzz-", "-zzz zzz-"),
        ("a bc def", "-a bc def-", "-***-"),
        ("a bc def", "-a  bc def-", "-a  bc def-"),
        ("zzzzzz", "-7a" + " " * 76 + "7a7a7a7a7a-", "-***-"),
        ("zzzzzz", "-7a" + " " * 77 + "7a7a7a7a7a-", "-7a" + " " * 77 + "7a7a7a7a7a-"),
        ("abcdefghijklmnop", "-abc\n  defghijklmnop-", "-abc\n  ***-"),
        ("abcdefghijklmnop", "-abcd\n  efghijklmnop-", "-***-"),
        ("abcdefghijklmnop", "a b c \ndefghijklmnop", "a b c \n***"),
        ("abcdefghijklmnop", "a b c d\nefghijklmnop", "***"),
        ("abcdefghijklmnop", "abcdefghijklmno", "abcdefghijklmno"),
        ("abcdefghijklmnop", "-abcdefgh\\\nijklmnop-", "-***-"),
        ("abcdefghijklmnop", "-abcdefgh\\\\nijklmnop-", "-***-"),
    ],
)
@pytest.mark.parametrize("division", [1, 2, 5, 1000])
def test_a_form_is_masked_with_so_much_white_space_as_its_limit_says(value, text, masked, division):
    data = text.encode()
    pieces = [data[start : start + division] for start in range(0, len(data), division)]
    assert streamed(Secrets([value]), pieces) == masked.encode()


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


def test_a_text_for_people_is_masked():
    assert Secrets([SECRET]).mask_text(f"é\udcff {SECRET}") == "é\udcff ***"


def test_a_stream_that_holds_nothing_is_flushed_without_effect():
    masker = Masker(Secrets([SECRET]))
    assert (masker.patience, masker.flush(), masker.feed(b"")) == (None, b"", b"")
    assert masker.feed(b"correct-h") == b""
    assert masker.flush() == b"correct-h"
    assert masker.patience is None
    assert masker.flush() == b""


@pytest.mark.parametrize(
    "command",
    [
        "cat secret", "sed 's/^/    /' secret", "cat -n secret", "sed 's/^/> /' secret", "sed 's/$/\\r/' secret",
        "sed -n 3p secret", "head -n 9 secret", "tr -d '\\n' < secret", "fold -w 37 secret", "nl -ba secret",
        "git diff --no-index /dev/null secret || true", "grep -n Zq secret", "set -x; : \"$(cat secret)\"",
        "python3 -c 'print(repr(open(\"secret\").read()))'", "tac secret", "pr -T secret",
        "sed 's/.*/\"&\\\\n\" +/' secret",
        "python3 -c 'import json; print(json.dumps(json.dumps({\"key\": open(\"secret\").read()})))'",
    ],
)  # fmt: skip
def test_every_line_of_a_key_is_masked_in_any_layout(command, tmp_path):
    clear = Secrets([KEY]).mask(printed(command, KEY, tmp_path)).decode()
    assert not [piece for line in LINES for piece in pieces_of(line, 12) if piece in clear]
    assert MASK.decode() in clear


@pytest.mark.parametrize(
    "command",
    [
        "base64 secret", "base64 -w0 secret", "base64 -w 64 secret", "openssl base64 -in secret",
        "(printf x; cat secret) | base64",
        "(printf xy; cat secret; printf tail) | base64", "base64 secret | tr '+/' '-_'",
        "base64 secret | sed 's/^/    /'",
        "base64 secret | sed 's/$/\\r/'", "od -An -v -tx1 secret", "od -An -v -tx1 secret | tr -d ' '",
        "od -An -v -tx1 secret | tr a-f A-F",
        "base64 secret | python3 -c 'import json,sys; print(json.dumps(sys.stdin.read()))'",
        "base64 secret | python3 -c 'import json,sys; print(json.dumps(json.dumps(sys.stdin.read())))'",
        "(head -c 31 /dev/zero | tr '\\0' x; cat secret) | base64", "(head -c 45 /dev/zero; cat secret) | base64 -w 76",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [KEY, SECRET, PASSWORD])
def test_encoded_secrets_are_masked_wherever_lines_are_wrapped(command, value, tmp_path):
    text = printed(command, value, tmp_path)
    bare = "".join(Secrets([value]).mask(text).decode().replace("\\n", "").replace("\\", "").split())
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + value.encode()).decode()
        for form in (coded, coded.replace("+", "-").replace("/", "_")):
            assert not [piece for piece in pieces_of(form[4:-4]) if piece in bare]
    assert value.encode().hex()[8:24] not in bare.lower()
    assert MASK.decode() in bare


GO = {ord("&"): "\\u0026", ord("<"): "\\u003c", ord(">"): "\\u003e"}
QUOTED = {
    "json": json.dumps(PASSWORD)[1:-1],
    "json, plain": json.dumps(PASSWORD, ensure_ascii=False)[1:-1],
    "json, slashes": json.dumps(PASSWORD)[1:-1].replace("/", "\\/"),
    "json twice": json.dumps(json.dumps(PASSWORD)[1:-1])[1:-1],
    "json three times": json.dumps(json.dumps(json.dumps(PASSWORD)[1:-1])[1:-1])[1:-1],
    "json of Go": json.dumps(PASSWORD, ensure_ascii=False)[1:-1].translate(GO),
    "json, capitals": json.dumps(PASSWORD)[1:-1].replace("\\u00e9", "\\u00E9"),
    "url": urllib.parse.quote(PASSWORD, safe=""),
    "url, path": urllib.parse.quote(PASSWORD),
    "url, small": urllib.parse.quote(PASSWORD, safe="").lower(),
    "form": urllib.parse.quote_plus(PASSWORD),
    "html": html.escape(PASSWORD),
    "hex": PASSWORD.encode().hex(),
    "HEX": PASSWORD.encode().hex().upper(),
    "as it is": PASSWORD,
}  # fmt: skip


@pytest.mark.parametrize("how", QUOTED)
def test_a_password_with_odd_characters_is_masked_whole(how):
    clear = Secrets([PASSWORD]).mask(f"before '{QUOTED[how]}' after".encode())
    assert clear == b"before '***' after"


def test_the_environment_as_an_agents_json_line_shows_it_is_masked():
    inner = json.dumps({"content": f"A=1\nKEY={KEY}\nB=2"})
    line = json.dumps({"type": "tool_result", "raw": inner}).encode()
    clear = Secrets([KEY]).mask(line)
    assert b"Zq8v" not in clear
    assert json.loads(json.loads(clear)["raw"])["content"].startswith("A=1\nKEY=")


@pytest.mark.parametrize("shift", range(3))
@pytest.mark.parametrize("tail", [b"", b"!", b"!!"])
def test_the_base64_of_a_text_around_a_secret_is_masked(shift, tail):
    coded = base64.b64encode(b"x" * shift + SECRET.encode() + tail)
    clear = Secrets([SECRET]).mask(b"before " + coded + b" after")
    assert MASK in clear
    assert clear.startswith(b"before ")
    assert clear.endswith(b" after")
    left = clear.removeprefix(b"before ").removesuffix(b" after").replace(MASK, b"")
    assert len(left) <= 8  # the characters that the neighbours decide


@pytest.mark.parametrize(
    "text",
    [TOKEN, b"sk-ant-api03-" + b"x" * 40, b"AKIA" + b"A" * 16, b"ado_" + b"x" * 43, b"github_pat_" + b"x" * 60],
)
def test_a_text_of_the_form_of_a_token_is_masked(text):
    assert Secrets().mask(b"key=" + text + b"; next") == b"key=***; next"


@pytest.mark.parametrize(
    "text",
    [
        b"task-12 disk-space", b"sk-short", b"ghp_x", b"xghp_" + b"a" * 36, b"ado_x run",
        b"AKIA" + b"a" * 16, b"b64+AKIA" + b"A" * 16, b"b64/AIza" + b"x" * 35,
    ],
)  # fmt: skip
def test_a_text_that_resembles_a_token_is_not_masked(text):
    assert Secrets().mask(text) == text


@pytest.mark.parametrize("value", ["", "1", "true", "1234", "a b c", "abc12", " \n ", "\n\n1\n2\n"])
def test_values_too_short_to_be_secrets_are_reported_and_not_masked(value):
    text = b"1 is true, 1234 abc12 a b c 1\n2\n" * 10
    assert is_short(value)
    assert Secrets([value]).mask(text) == text
    assert not is_short("123456")


def test_a_short_value_is_not_masked_in_columns_of_numbers():
    text = b"12 34 56\n1234 56\n12\n3456\n"
    assert Secrets(["123456"]).mask(text) == text


def test_two_secrets_side_by_side_are_both_masked():
    assert Secrets(["secret-one", "secret-two"]).mask(b"secret-onesecret-two") == b"******"


def test_overlapping_masks_join_in_any_division_of_the_stream():
    secrets, whole = Secrets(["aaaaab", "cccccc", "abccccccdddd"]), b"-aaaaabccccccdddd-"
    assert secrets.mask(whole) == b"-***-"
    for cut in range(len(whole)):
        assert streamed(secrets, [whole[:cut], whole[cut:]]) == b"-***-"


def test_overlapping_secrets_are_masked_completely():
    assert Secrets(["abcdefgh", "efghijkl"]).mask(b"-abcdefghijkl-") == b"-***-"


def test_an_added_value_is_masked_in_text_that_is_already_held():
    secrets = Secrets([SECRET])
    masker = Masker(secrets)
    assert masker.feed(b"new-value-1 ") == b"new-value-1 "
    secrets.add("new-value-1")
    assert masker.feed(b"new-va") + masker.feed(b"lue-1 " + SECRET.encode() + b" .") + masker.flush() == b"*** *** ."


def test_a_file_is_searched_across_the_borders_of_its_pieces():
    data = b"x" * 70_000 + base64.encodebytes(KEY.encode()) + b"y" * 70_000
    secrets = Secrets([KEY])
    for size in (1 << 20, 65536, 1000, 61):
        assert secrets.known_in(data[start : start + size] for start in range(0, len(data), size))
    assert not secrets.known_in([b"x" * 100_000, TOKEN])
    assert not Secrets().known_in([KEY.encode()])


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


@settings(max_examples=300, deadline=None)
@given(
    st.text(min_size=6, max_size=40).filter(lambda value: not is_short(value)),
    st.binary(max_size=20), st.binary(max_size=20), st.integers(0, 60),
)  # fmt: skip
def test_a_value_of_any_characters_is_masked_in_any_context(value, before, after, cut):
    for form in (value.encode(), value.encode().hex().encode(), urllib.parse.quote(value, safe="").encode()):
        whole = before + form + after
        assert form not in streamed(Secrets([value]), [whole[:cut], whole[cut:]]).replace(MASK, b"\0")


@pytest.mark.parametrize("secret", ["pa\\nss-word", "a\\b\\c\\d", "\\\\server\\share\\name"])
def test_a_secret_with_backslashes_is_masked_as_it_is(secret):
    assert Secrets([secret]).mask(b"x " + secret.encode() + b" y") == b"x *** y"


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
