"""The forms of a secret, written out."""

import pytest

from worker.output.secret_forms import forms, is_short, unescaped

PLAIN = "".join(chr(97 + (index * 7 + index // 26) % 26) for index in range(300))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("zzzzzz", {"zzzzzz": 6, "7a7a7a7a7a7a": 88, "7A7A7A7A7A7A": 88, "enp6enp6": 8}),
        (
            "zzzzzzz?",
            {
                "zzzzzzz?": 8, "zzzzzzz%3F": 10, "zzzzzzz%3f": 10, "7a7a7a7a7a7a7a3f": 96, "7A7A7A7A7A7A7A3F": 96,
                "enp6enp6ej": 10, "6enp6enp6P": 10, "p6enp6eno/": 10, "p6enp6eno_": 10,
            },
        ),
        (
            "  abcdefg",
            {
                "abcdefg": 9, "%20%20abcdefg": 90, "++abcdefg": 11, "202061626364656667": 100,
                "ICBhYmNkZWZn": 88, "AgYWJjZGVmZ": 13, "gIGFiY2RlZm": 13,
            },
        ),
    ],
)  # fmt: skip
def test_each_form_may_take_some_white_space_more(value, expected):
    """A short form only as much as the value itself has: otherwise columns of numbers would match."""
    assert forms(value) == {form.encode(): limit for form, limit in expected.items()}


def test_a_value_with_odd_characters_is_known_in_every_quotation():
    expected = [
        "é<'/&\"z",
        # JSON: plain, in ASCII, of Go and of PHP; and what is left of them without backslashes
        "é<'/&\"z", r"\u00e9<'/&\"z", r"\u00E9<'/&\"z", r"é\u003c'/\u0026" + '"z', r"é\u003C'/\u0026" + '"z',
        r"\u00e9\u003c'/\u0026\"z", r"\u00e9\u003c\u0027/\u0026\"z", r"\u00E9\u003C\u0027/\u0026\"z",
        "u00e9<'/&\"z", "u00E9<'/&\"z", "éu003c'/u0026\"z", "u00e9u003cu0027/u0026\"z", "u00E9u003Cu0027/u0026\"z",
        # URLs
        "%C3%A9%3C%27%2F%20%26%22z", "%c3%a9%3c%27%2f%20%26%22z", "%C3%A9%3C%27/%20%26%22z", "%c3%a9%3c%27/%20%26%22z",
        "%C3%A9%3C'%2F%20%26%22z", "%C3%A9%3C'/%20&%22z", "%C3%A9%3C%27%2F+%26%22z", "%c3%a9%3c%27%2f+%26%22z",
        # HTML and a shell
        "é&lt;&#x27;/&amp;&quot;z", "é&lt;&#39;/&amp;&quot;z", "é&lt;'/&amp;\"z", "é<'\\''/&\"z", "é<'\"'\"'/&\"z",
        # hexadecimal and base64
        "c3a93c272f2026227a", "C3A93C272F2026227A", "w6k8Jy8gJiJ6", "DqTwnLyAmIn", "OpPCcvICYie",
    ]  # fmt: skip
    assert {form.encode() for form in expected} <= set(forms("é<'/ &\"z"))
    assert b"\xc3\xa9<'/\\&\"z" not in forms("é<'/ &\"z")


@pytest.mark.parametrize(
    ("length", "blocks"),
    [
        (6, [(0, 6)]),
        (128, [(0, 128)]),
        (129, [(0, 128), (1, 129)]),
        (137, [(0, 128), (9, 137)]),
        (248, [(0, 128), (120, 248)]),
        (300, [(0, 128), (120, 248), (172, 300)]),
    ],
)
def test_a_long_text_is_searched_in_blocks_that_overlap(length, blocks):
    text = PLAIN[:length]
    found = [form.decode() for form in forms(text) if form.decode() in text]
    assert sorted((text.find(form), text.find(form) + len(form)) for form in found) == blocks


def plain_forms(value):
    """Return the forms that are neither hexadecimal nor base64."""
    return {form.decode() for form in forms(value) if form.isalpha() and form.islower()}


def test_each_line_of_a_value_is_searched_too():
    assert plain_forms("\nfirstline\r\n\n  secondline\n") == {"firstlinesecondline", "firstline", "secondline"}
    assert plain_forms("firstline\nsecondline") == {"firstlinesecondline", "firstline", "secondline"}
    assert plain_forms("firstline\nshort\n") == {"firstlineshort", "firstline"}
    assert plain_forms("\nonlyline\n") == {"onlyline"}


def test_the_borders_of_a_key_are_no_secrets():
    key = "-----BEGIN TEST KEY-----\nfirstline\n-----END TEST KEY-----"
    assert {b"firstline", b"-----BEGINTESTKEY-----firstline-----ENDTESTKEY-----"} <= set(forms(key))
    assert b"-----BEGINTESTKEY-----" not in forms(key)
    assert forms("-----BEGIN TEST KEY-----") == {}


@pytest.mark.parametrize(
    ("value", "short"), [("abcde", True), ("a b\tc\nd\re", True), ("abcdef", False), ("é12é", False)]
)
def test_a_value_of_less_than_six_bytes_without_white_space_has_no_form(value, short):
    assert is_short(value) is short
    assert (forms(value) == {}) is short


def test_escaped_line_ends_and_backslashes_are_left_out():
    assert unescaped(b"a\\n b\\rc\\td\\\\e\\\\nf\\\\\\ng n r t") == b"abcdefgnrt"
    assert unescaped(b"\\\\nn") == b"n"
    assert unescaped(b"\\\nn") == b"n"
