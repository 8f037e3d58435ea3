"""Which paths a registry takes, and the answer for a path without a procedure or with one of another kind."""

import pytest
from support.wire import REGISTRY, greet

from app.rpc.errors import ProcedureError
from app.rpc.server.registry import Registry


@pytest.mark.parametrize("path", ["then", "a.then", "call.a", "a.apply", "A.b", "a..b", "a.b.", "a/b", "", "a-b"])
def test_a_path_that_a_trpc_client_cannot_name_is_refused(path):
    with pytest.raises(ValueError, match="cannot be the path of a procedure"):
        Registry({path: greet})


def test_a_path_that_only_contains_a_reserved_word_is_accepted():
    assert list(Registry({"a.thenNext": greet, "recall.a": greet}).procedures) == ["a.thenNext", "recall.a"]


def test_a_function_without_the_decorator_is_refused():
    with pytest.raises(TypeError, match=r"a\.b is not a procedure"):
        Registry({"a.b": lambda context: None})


def test_the_error_for_an_unknown_path_names_the_nearest():
    with pytest.raises(ProcedureError, match="No procedure found") as caught:
        REGISTRY.find("a.grete")
    assert (caught.value.reason, caught.value.hint) == ("no_such_procedure", "did you mean a.greet?")


def test_the_error_for_a_call_of_another_kind_names_the_kind():
    assert REGISTRY.unknown("a.store", "no query").hint == "a.store is a mutation"
