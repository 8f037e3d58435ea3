"""What is said of a path on which nothing is, or something of another kind."""

import pytest
from support.wire import REGISTRY

from app.rpc.errors import ProcedureError


def test_a_path_that_is_not_there_is_answered_with_the_nearest():
    with pytest.raises(ProcedureError, match="No procedure found") as caught:
        REGISTRY.find("a.grete")
    assert (caught.value.reason, caught.value.hint) == ("no_such_procedure", "did you mean a.greet?")


def test_a_call_of_another_kind_is_told_what_the_path_is():
    assert REGISTRY.unknown("a.store", "no query").hint == "a.store is a mutation"
