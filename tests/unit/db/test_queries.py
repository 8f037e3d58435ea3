"""The loader of statements."""

import pytest

from db.queries import parse


def test_a_statement_has_a_form_for_each_driver():
    query = parse("-- name: find :many\n-- why\nselect 10 % 3, :a::int, :b::text, :a::int;\n")["find"]
    assert query.numbered == "select 10 % 3, $1::int, $2::text, $1::int"
    assert query.named == "select 10 %% 3, %(a)s::int, %(b)s::text, %(a)s::int"
    assert query.arguments({"a": 1, "b": "x"}) == [1, "x"]


def test_a_missing_or_surplus_parameter_is_refused():
    query = parse("-- name: find :one\nselect :a::int")["find"]
    with pytest.raises(TypeError, match="find"):
        query.arguments({"b": 1})


@pytest.mark.parametrize("text", ["-- name: a :few\nselect 1", "-- name: a :one\nselect 1\n-- name: a :one\nselect 2"])
def test_a_bad_header_is_refused(text):
    with pytest.raises(ValueError, match="statement a"):
        parse(text)
