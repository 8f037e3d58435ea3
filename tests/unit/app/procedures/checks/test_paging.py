"""Pages: as many items as fit one answer."""

from app.procedures.checks.paging import fit


def test_items_are_taken_until_their_json_fills_the_limit():
    assert fit(["x" * 8] * 5, 30) == ["x" * 8] * 3
    assert fit(["x" * 8] * 3, 30) == ["x" * 8] * 3


def test_one_item_always_fits_and_an_empty_list_stays_empty():
    assert fit(["x" * 100, "y"], 30) == ["x" * 100]
    assert fit([], 30) == []
