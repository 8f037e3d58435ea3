"""A patch on a terminal: all of it is seen, and a file cannot colour itself."""

import re

import pytest

from cli.render.patch import PatchView, StatView

PATCH = b"""diff --git a/f b/f
index 1..2 100644
--- a/f
+++ b/f
@@ -1,3 +1,4 @@ def f():
 one
--- not a head
-gone
+rm -rf ~\r+x = 1\x1b[8mhidden\x1b[0m
++++ b/f
+\xe2\x80\xaeevil\xff
\\ No newline at end of file
diff --git a/g b/g
"""


def shown(data, *, coloured=False, size=10_000):
    view = PatchView(coloured=coloured)
    pieces = [view.feed(data[at : at + size]) for at in range(0, len(data), size)]
    return "".join(pieces) + view.feed(b"", last=True)


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_every_character_is_shown_for_any_cut_of_the_pieces(size):
    text = shown(PATCH, size=size)
    assert "+rm -rf ~\\x0d+x = 1\\x1b[8mhidden\\x1b[0m\n" in text
    assert "+\\u202eevil\\xff\n" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_colours_follow_the_numbers_in_the_heads_of_hunks():
    lines = shown(PATCH, coloured=True).split("\n")
    colour = {
        line[line.index("m") + 1 :].removesuffix("\x1b[0m"): line[2 : line.index("m")]
        for line in lines
        if line[:1] == "\x1b"
    }
    assert colour["--- not a head"] == colour["-gone"] == "31"
    assert colour["++++ b/f"] == colour["+\\u202eevil\\xff"] == "32"
    assert colour["--- a/f"] == colour["diff --git a/g b/g"] == "1"
    assert colour["@@ -1,3 +1,4 @@ def f():"] == "36"
    assert " one" in lines


def test_a_line_of_any_length_needs_no_more_memory_than_a_piece():
    view = PatchView(coloured=True)
    view.feed(b"@@ -0,0 +1 @@\n+")
    for _ in range(100):
        assert view.feed(b"x" * 70_000)
    assert view.feed(b"\n") == "\n"


def test_a_stat_keeps_the_colours_of_git():
    view = StatView()
    text = view.feed(b' a | 2 \x1b[32m+\x1b[m\x1b[31m-\x1b[m\n "b\\033[8m\xe2\x80\xae')
    text += view.feed(b'" | 1 +\n', last=True)
    assert text == ' a | 2 \x1b[32m+\x1b[m\x1b[31m-\x1b[m\n "b\\033[8m\\u202e" | 1 +\n'
