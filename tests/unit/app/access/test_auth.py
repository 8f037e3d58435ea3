"""What the audit has of a refused call's input: an id and no other member."""

import pytest

from app.access.auth import target_of


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ({"taskId": "task-12"}, "task-12"),
        ({"jobId": "task-12/3", "attempt": 1}, "task-12/3"),
        ({"tokenId": "tok-0123456789ab"}, "tok-0123456789ab"),
        ({"userId": "user-7"}, "user-7"),
        ({"taskId": 5, "tokenId": "tok-1"}, "tok-1"),
    ],
)
def test_an_id_in_the_input_is_the_target(value, target):
    assert target_of(value) == target


@pytest.mark.parametrize(
    "value",
    [
        None, 5, "task-1", [], ["task-1"], {}, {"taskId": None}, {"taskId": {"taskId": "task-1"}},
        {"taskId": "ado_c2VjcmV0LXRva2Vu"}, {"taskId": "task-1 secret"}, {"taskId": "task-1\n"},
        {"taskId": "task-\u0661"},
        {"taskId": "task-" + "1" * 500}, {"prompt": "task-1"}, {"workerId": "task-1"}, {"taskId": "task-1/"},
    ],
)  # fmt: skip
def test_another_value_is_not_a_target(value):
    assert target_of(value) is None
