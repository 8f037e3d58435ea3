"""The exit codes, one by one."""

import pytest

from cli import exits


@pytest.mark.parametrize(
    ("reason", "code", "expected"),
    [
        ("exit_nonzero", 7, 7),
        ("exit_nonzero", 123, 123),
        ("exit_nonzero", 124, 124),
        ("exit_nonzero", 137, 137),
        ("exit_nonzero", 255, 255),
        ("exit_nonzero", 3221225477, 255),
        ("too_many_attempts", None, 1),
        ("agent_error", None, 1),
        ("agent_error", 0, 1),
        ("timed_out", 143, 124),
        ("lost", None, 125),
        ("permission_denied", 1, 126),
    ],
)
def test_a_failed_job_has_its_code(reason, code, expected):
    assert exits.of_job(reason, code) == expected


def test_a_task_has_the_code_of_the_job_that_failed_first():
    jobs = [
        {"job": 0, "status": "failed", "exitCode": 4, "finishedAt": "2026-01-01T00:00:02Z"},
        {"job": 1, "status": "failed", "exitCode": 5, "finishedAt": "2026-01-01T00:00:01Z"},
    ]
    assert exits.of_task({"status": "failed", "jobs": jobs}) == 5
    # transactions may commit in another order than they began in: the log's order is the server's to tell
    assert exits.of_task({"status": "failed", "failedJob": 0, "jobs": jobs}) == 4
    assert exits.of_task({"status": "cancelled", "jobs": []}) == 1
    assert exits.of_task({"status": "succeeded", "jobs": []}) == 0


def test_the_help_topic_names_every_code():
    for code in ("0", "1-255", "1", "2", "124", "125", "126", "127", "130", "141"):
        assert f"\n  {code} " in "\n" + exits.TABLE
