"""Text of others on a terminal: nothing hides, nothing moves, nothing reads as another line."""

import json
import unicodedata

import pytest

from cli.render.visible import one_line, visible, visible_json, visible_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 漢 😀\ttab", "plain ü 漢 😀\ttab"),
        ("a\rb\x1b[8mc", r"a\x0db\x1b[8mc"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("\u202egpj.exe\u2066", r"\u202egpj.exe\u2066"),
        ("a\u200bb\ufeff\u2060\xad", r"a\u200bb\ufeff\u2060\xad"),
        ("\U000e0041\ufe0f", r"\U000e0041\ufe0f"),
        (
            "\U0001f469\u200d\U0001f467 \u2764\ufe0f\u200d\U0001f525",
            "\U0001f469\u200d\U0001f467 \u2764\ufe0f\u200d\U0001f525",
        ),
        ("\U0001f469\u200da\ufe0f\u200d", "\U0001f469\\u200da\\ufe0f\\u200d"),
        ("\u2028\x85\n", r"\u2028\x85\x0a"),
        (b"\x9b\xff".decode("utf-8", "surrogateescape"), r"\x9b\xff"),
    ],
)
def test_invisible_characters_are_written_as_escapes(text, shown):
    assert visible(text) == shown
    assert visible(text).encode()


def test_no_character_of_unicode_that_controls_or_formats_is_let_through():
    shapeless = [
        chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    ]
    visible_marks = set("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
    hieroglyphs = {chr(code) for code in range(0x13430, 0x13440)}  # they join signs that are seen
    for character in set(shapeless) - visible_marks - hieroglyphs - {"\t"}:
        assert visible(character) != character, hex(ord(character))


def test_a_message_of_several_lines_is_one_line():
    assert one_line("done\nado: task-1 succeeded\n") == "done / ado: task-1 succeeded"
    assert one_line("  indented") == "  indented"


def test_a_text_keeps_its_lines():
    assert visible_text("a\nb\r\n") == "a\nb\\x0d\n"


def test_json_stays_the_same_value():
    value = {"a": "\u202e\x7f\x9b\u200b😀\U000e0041\t\n"}
    shown = visible_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(shown) == value
    assert visible(shown) == shown
