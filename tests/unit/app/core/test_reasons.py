"""What errors say besides their message stands in the published types."""

import ast
import re
from pathlib import Path

import pytest

import app
from app.core.reasons import REFUSALS, WIRE_REFUSALS
from app.procedures.table import registry
from app.rpc.server.typescript import declaration


@pytest.fixture(scope="module")
def made():
    """The calls that make errors, of all files. Not while tests are collected, which every process does."""
    sources = [ast.parse(path.read_text()) for path in Path(app.__file__).parent.rglob("*.py")]
    return [
        call
        for source in sources
        for call in ast.walk(source)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("refusal", "ProcedureError")
    ]


def test_every_reason_of_an_error_is_a_known_word(made):
    named = {
        call.args[0].value for call in made if call.func.id == "refusal" and isinstance(call.args[0], ast.Constant)
    }
    given = {
        word.value.value
        for call in made
        for word in call.keywords
        if word.arg == "reason" and isinstance(word.value, ast.Constant)
    }
    assert len(named) > 20
    assert given
    assert named <= set(REFUSALS)
    assert given <= {*REFUSALS, *WIRE_REFUSALS}


def test_the_published_types_have_the_reasons_and_the_members_of_every_error(made):
    text = declaration(registry(), "1", (*REFUSALS, *WIRE_REFUSALS))
    shape = re.search(r"type ErrorShape = .*?^};", text, re.MULTILINE | re.DOTALL)[0]
    given = {word.arg for call in made for word in call.keywords if word.arg}
    assert given >= {"expected", "lastSeq"}
    assert given <= set(re.findall(r"(\w+)\?:", shape))
    refusals = re.search(r"type Refusal = (.*);", text)[1]
    assert {'"no_such_procedure"', '"method_not_supported"', '"no_such_task"'} <= set(refusals.split(" | "))
