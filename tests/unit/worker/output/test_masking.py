"""Masking: no secret leaves in any everyday form, however it is divided over reads; every other byte is unchanged.

What is expected is written out, or made by the commands that print secrets in daily work; nothing is compared with
what the masker itself says, but where streams are compared with the whole.
"""

import base64
import html
import json
import subprocess
import urllib.parse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.secrets import KEY, LINES, PASSWORD, SECRET, TOKEN, TOKENS, streamed

from worker.output.masking import MASK, Secrets, may_be_token, merged
from worker.output.secret_forms import is_short


def printed(command, value, tmp_path):
    """Return what a shell command prints of the file ``secret``."""
    (tmp_path / "secret").write_bytes(value.encode())
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=True)
    return done.stdout + done.stderr


def pieces_of(text, size=8):
    return [text[start : start + size] for start in range(0, len(text) - size + 1, size)]


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


def test_a_text_for_people_is_masked():
    assert Secrets([SECRET]).mask_text(f"é\udcff {SECRET}") == "é\udcff ***"


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


def test_overlapping_secrets_are_masked_completely():
    assert Secrets(["abcdefgh", "efghijkl"]).mask(b"-abcdefghijkl-") == b"-***-"


def test_a_file_is_searched_across_the_borders_of_its_pieces():
    data = b"x" * 70_000 + base64.encodebytes(KEY.encode()) + b"y" * 70_000
    secrets = Secrets([KEY])
    for size in (1 << 20, 65536, 1000, 61):
        assert secrets.known_in(data[start : start + size] for start in range(0, len(data), size))
    assert not secrets.known_in([b"x" * 100_000, TOKEN])
    assert not Secrets().known_in([KEY.encode()])


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
