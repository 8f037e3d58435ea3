"""Shapes are made from records by the names of their members."""

from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import NODEFAULT, UNSET, UnsetType, to_builtins
from msgspec.structs import fields

import app.procedures.table  # noqa: F401 - it defines the shapes of all answers
from app.shapes.claimed_jobs import ClaimedJob
from app.shapes.records import Job, RecordShape, Wire, amounts
from db import model


class Shape(Wire):
    name: str
    value: Any
    count: int | UnsetType = UNSET
    total_bytes: int | UnsetType = UNSET


@dataclass
class Record:
    name: str = "a"
    value: Any = None
    count: int | None = None
    other: int = 1


def test_a_shape_copies_the_attributes_that_its_members_name():
    assert Shape.from_record(Record(value=7, count=3), total_bytes=9) == Shape(
        name="a", value=7, count=3, total_bytes=9
    )


def test_none_becomes_an_absent_optional_member_and_null_elsewhere():
    assert to_builtins(Shape.from_record(Record(), total_bytes=UNSET)) == {"name": "a", "value": None}


def test_a_member_without_an_attribute_must_be_given():
    with pytest.raises(AttributeError, match="total_bytes"):
        Shape.from_record(Record())


@pytest.mark.parametrize("shape", RecordShape.__subclasses__(), ids=lambda shape: shape.__name__)
def test_a_shape_inherits_no_default_that_would_leave_out_a_value(shape):
    if shape.__struct_config__.omit_defaults:
        assert {member.default for member in fields(shape)} <= {None, NODEFAULT}
        assert {member.default_factory for member in fields(shape)} == {NODEFAULT}


def test_a_new_job_has_no_members_of_an_attempt():
    assert to_builtins(Job.of(model.JobRow(7, 0, "shell"))) == {
        "jobId": "task-7/0",
        "job": 0,
        "agent": "shell",
        "status": "queued",
        "attempt": 0,
    }


def test_only_amounts_of_a_usage_are_shown():
    lies = {"inputTokens": -1, "outputTokens": "9", "turns": True, "costUsd": 1e300, "more": [None]}
    assert amounts({**lies, "cacheWriteTokens": 5, "other": 0.5}) == {"cacheWriteTokens": 5, "other": 0.5}
    for usage in (None, [1], "x", 5):
        assert "usage" not in to_builtins(Job.of(model.JobRow(7, 0, "shell", usage=usage)))


def test_a_claimed_job_without_agent_arguments_has_null():
    job = model.ClaimedJobRow(
        task_id=7, job=0, attempt=1, prompt="p", agent="shell", agent_args=None, requires=["shell"],
        environment={"A": "1"}, sealed_environment=None, workers=1, timeout_seconds=None, workspace=None,
        token="t", credential=None, trust_project=False, messages=0, continues=False,
    )  # fmt: skip
    assert to_builtins(ClaimedJob.of(job)) == {
        "jobId": "task-7/0", "taskId": "task-7", "job": 0, "attempt": 1, "prompt": "p", "agent": "shell",
        "agentArgs": None, "requires": ["shell"], "env": {"A": "1"}, "workers": 1, "token": "t",
        "messages": 0,
    }  # fmt: skip
