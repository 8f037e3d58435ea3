"""Public ids of tasks and jobs."""

import pytest

from app.procedures.checks.ids import parse_job, parse_task
from app.rpc.errors import ProcedureError


def test_an_id_is_valid_with_and_without_its_prefix():
    assert parse_task("task-123") == parse_task("123") == 123
    assert parse_job("task-123/2") == parse_job("123/2") == (123, 2)


@pytest.mark.parametrize(
    "text", ["", "task-", "task-0", "task-01", "task-1/2", "job-1", "1" * 19, "task-1\n", "task-1\u0661"]
)
def test_another_text_is_an_unknown_task(text):
    with pytest.raises(ProcedureError) as caught:
        parse_task(text)
    assert caught.value.reason == "no_such_task"


@pytest.mark.parametrize("text", ["", "task-1", "task-1/", "task-1/-1", "task-1/x", "1/" + "1" * 10])
def test_another_text_is_an_unknown_job(text):
    with pytest.raises(ProcedureError) as caught:
        parse_job(text)
    assert caught.value.reason == "no_such_job"
