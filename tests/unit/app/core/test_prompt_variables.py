"""The variables of a template's prompt."""

import pytest

from app.core.prompt_variables import VariablesWrong, fill, names


def test_a_name_in_braces_is_a_variable_and_nothing_else_is():
    assert names("{b} {a} {b} {_x9} ${HOME} {{c}} { d } {1} {a,b} {} {ä} ${{e}}") == ["b", "a", "_x9"]


def test_values_take_the_places_of_variables():
    assert fill("{a}{b}{a}", {"a": "1", "b": ""}) == "11"
    assert fill("${HOME} {{a}} { a } {a}", {"a": "x"}) == "${HOME} {a} { a } x"


def test_a_value_is_text_without_variables():
    assert fill("{a} {b}", {"a": "{b} {{b}} \\1 \\g<0>", "b": "2"}) == "{b} {{b}} \\1 \\g<0> 2"


def test_a_missing_value_is_named_with_the_next_step():
    with pytest.raises(VariablesWrong, match="no value for the variable a, b") as caught:
        fill("{a} {c} {b}", {"c": "x"})
    assert caught.value.next_step == "give it a value: --var a=VALUE --var b=VALUE"


def test_an_unknown_name_is_refused():
    with pytest.raises(VariablesWrong, match="no variable isue") as caught:
        fill("{issue}", {"issue": "1", "isue": "2"})
    assert caught.value.next_step == "its variables are issue"
    with pytest.raises(VariablesWrong, match="no variable a") as caught:
        fill("plain", {"a": "1"})
    assert "leave --var out" in caught.value.next_step
