"""Every procedure with inputs that are right, nearly right and nonsense: never an error of the server's own."""

import contextlib
import http.client
import json
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import inspect as shapes

from app.procedures.table import registry

from .conftest import no_leak

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
TASK, JOB = "the task", "the job"
"""Stand for the names of a task that the test makes, and of its job."""
NAMES = st.sampled_from([TASK, JOB, "task-99999999999999999999", "w1", "shell", "s", "", "\u0000", "'", "🤖"])
REFUSED = ("BAD_REQUEST", "NOT_FOUND", "CONFLICT", "PAYLOAD_TOO_LARGE", "FORBIDDEN")
UNENDING = {"workers.claim"}
PROCEDURES = registry().procedures


def values(info):
    """Return a strategy for a type: mostly what it asks for, at its edges and beyond."""
    if isinstance(info, shapes.Metadata):
        return values(info.type)
    if isinstance(info, shapes.StructType):
        fields = {field.encode_name: values(field.type) | JUNK for field in info.fields}
        required = {name: fields.pop(name) for name in [f.encode_name for f in info.fields if f.required]}
        return st.fixed_dictionaries(required, optional=fields) | JUNK
    if isinstance(info, shapes.UnionType):
        return st.one_of([values(member) for member in info.types])
    if isinstance(info, shapes.CollectionType):
        return st.lists(values(info.item_type), max_size=4)
    if isinstance(info, shapes.DictType):
        return st.dictionaries(NAMES | st.text(max_size=10), values(info.value_type), max_size=4)
    if isinstance(info, shapes.LiteralType):
        return st.sampled_from(info.values)
    plain = {
        shapes.StrType: NAMES | st.text(max_size=40),
        shapes.IntType: st.sampled_from([0, 1, -1, 2**31, 2**53, 2**63 - 1, 2**63]) | st.integers(-5, 5),
        shapes.FloatType: st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 1e308]),
        shapes.BoolType: st.booleans(),
        shapes.DateTimeType: st.sampled_from(["2026-01-01T00:00:00Z", "0001-01-01T00:00:00", "x"]),
        shapes.NoneType: st.none(),
    }
    return plain.get(type(info), JUNK)


def first_events(connection, answer):
    """Return the head of a stream and its first event, if one comes; leave it then."""
    lines = []
    connection.sock.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while len(lines) < 5 and (line := answer.readline()):
            lines.append(line)
    answer.close()
    connection.close()
    return b"".join(lines)


@pytest.mark.parametrize("path", sorted(PROCEDURES))
def test_a_procedure_answers_any_input(target, path):
    procedure = PROCEDURES[path]
    known = values(shapes.type_info(procedure.input_type)) if procedure.input_type else JUNK
    headers = {"authorization": f"Bearer {target.cluster.token}", "content-type": "application/json"}
    task = target.cluster.create_task()

    @settings(
        max_examples=60, deadline=None, derandomize=True, database=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(known)
    def attack(value):
        if path in UNENDING and isinstance(value, dict):
            value.pop("waitSeconds", None)  # it may rightly wait for twenty seconds
        text = json.dumps(value).replace(JOB, f"{task}/0").replace(TASK, task)
        # one of its own: the replica closes a connection that has been idle for a while
        connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=60)
        with contextlib.closing(connection):
            answer, body = exchange(connection, text)
        no_leak(body)
        if answer.status >= 400:
            data = json.loads(body)["error"]["data"]
            # a code that nobody made is refused like a token
            assert data["code"] in (*REFUSED, *(["UNAUTHORIZED"] if path == "sessions.exchange" else [])), body
            assert data.get("reason"), body

    def exchange(connection, text):
        if procedure.kind == "mutation":
            connection.request("POST", f"/trpc/{path}", text, headers)
        else:
            connection.request("GET", f"/trpc/{path}?input={quote(text)}", headers=headers)
        answer = connection.getresponse()
        streams = procedure.kind == "subscription" and answer.status < 400
        return answer, first_events(connection, answer) if streams else answer.read()

    attack()
