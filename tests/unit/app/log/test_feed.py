"""The window of a feed: who is within it is served from memory, in order and in bounded pieces."""

import pytest

from app.log.encode import Entry
from app.log.feed import Feed


def entries(first, last, size=10):
    return [Entry(seq, "output", 0, b"x" * size) for seq in range(first, last + 1)]


def test_a_viewer_gets_what_follows_its_cursor():
    feed = Feed(1, 4, byte_limit=1000)
    feed.add(entries(5, 9))
    assert [entry.seq for entry in feed.after(6)] == [7, 8, 9]
    assert feed.after(9) == []


def test_a_viewer_behind_the_window_is_sent_to_the_log():
    feed = Feed(1, 0, byte_limit=30)
    feed.add(entries(1, 10))
    assert [entry.seq for entry in feed.after(7)] == [8, 9, 10]
    assert feed.after(6) is None


def test_a_viewer_is_handed_no_more_than_a_piece_at_a_time():
    """Whoever stops reading keeps alive what it was handed."""
    feed = Feed(1, 0, byte_limit=10_000_000)
    feed.add(entries(1, 50, size=100_000))
    cursor, pieces = 0, []
    while piece := feed.after(cursor):
        pieces.append(len(piece))
        cursor = piece[-1].seq
    assert cursor == 50
    assert max(pieces) == 3


def test_a_feed_takes_in_nothing_but_what_follows():
    feed = Feed(1, 4, byte_limit=1000)
    for first in (4, 6):
        with pytest.raises(AssertionError, match="gap in the log of task 1 after 4"):
            feed.add(entries(first, 9))
    assert (feed.last_seq, feed.after(4)) == (4, [])
