"""How much of a list fits one answer."""

from app.procedures.checks.answer_size import fitting


def test_items_are_taken_until_their_json_fills_the_limit():
    assert fitting(["x" * 8] * 5, 30) == ["x" * 8] * 3
    assert fitting(["x" * 8] * 3, 30) == ["x" * 8] * 3


def test_one_item_always_fits_and_none_stays_none():
    assert fitting(["x" * 100, "y"], 30) == ["x" * 100]
    assert fitting([], 30) == []
