"""How long an agent was told to wait, in the words of models' services and agents."""

from datetime import datetime, timedelta, timezone

import pytest

from worker.agents.delays import LONGEST_SECONDS, delay_in, says_limit

NOW = datetime(2026, 11, 26, 21, 19, 30, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("[API Error: You exceeded your current quota. Please retry in 3599.5s.]", 3599.5),
        ("rate limit exceeded: Rate limit reached for m. Please try again in 11.054s.", 11.054),
        ("Rate limit reached. Please try again in 7m12s. Visit https://x", 432),
        ("Please try again in 1h2m.", 3720),
        ("try again in 3 days 4 hours 2 minutes.", 3 * 86400 + 4 * 3600 + 120),
        ("try again in 2 hours and 1 second", 7201),
        ("Attempt 1 failed: Please retry in 12.5s.. Retrying after 13498ms...", 12.5),
        ("429 Too Many Requests, Retry-After: 3600", 3600),
        ('{"retry-after": "60"}', 60),
        ("You\u2019ve hit your usage limit. Upgrade to Pro or try again at 10:19 PM.", 3600 - 30 + 60),
        ("You've hit your usage limit. Try again at Nov 27th, 2026 9:19 PM.", 86400 - 30 + 60),
        ("You've hit your 5-hour limit · resets 10pm (UTC)", 3600 + 40 * 60 + 30 + 60),
        ("try again at 9:19 PM.", 30),  # the minute of now
        ("try again at 9:05 PM.", 0),
        ("try again at 8:00 PM.", 22 * 3600 + 40 * 60 + 30 + 60),
        ("retry in 999999999 days", LONGEST_SECONDS),
        ("try again later", None),
        ("try again in a while, 5s", None),
        ("wait 5 monkeys", None),
        ("try again at 13:99 PM", None),
        ("resets 3pm (No/Where)", None),
        ("resets 3pm (../etc)", None),
        ("Try again at Feb 30th, 2026 9:19 PM.", None),
        ("", None),
    ],
)
def test_the_words_are_a_time(words, seconds):
    found = delay_in(words, NOW)
    assert found == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        ("You have exhausted your daily quota on this model.", True),
        ("You\u2019ve hit your usage limit.", True),
        ("rate limit exceeded", True),
        ("rate_limit_error", True),
        ("the server is overloaded", False),
    ],
)
def test_an_error_about_a_limit_is_known_by_its_words(words, limit):
    assert says_limit(words) == limit


def test_long_words_are_read_at_once():
    assert delay_in("retry in " * 200_000 + "5s", NOW) is None
    assert delay_in("retry in " + "9" * 200_000, NOW) is None
