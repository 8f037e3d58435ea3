"""Which ranges of a file are served."""

import pytest

from app.replica.file_bodies import RangeOutsideFile, parse_range


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", (0, 1)), ("bytes=0-", (0, 10)), ("bytes=9-99", (9, 10)), ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)), ("bytes=-", None), ("bytes=3-2", None), ("bytes=0-1,4-5", None), ("lines=0-1", None),
    ],
)  # fmt: skip
def test_one_range_of_bytes_is_served_and_other_forms_get_the_whole_file(header, span):
    assert parse_range(header, 10) == span


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-1", 0)])
def test_a_range_outside_the_file_is_refused_with_its_size(header, size):
    with pytest.raises(RangeOutsideFile) as caught:
        parse_range(header, size)
    assert caught.value.status == 416
    assert caught.value.size == size
