"""The jobs of a task side by side, from what the server says of them."""

from datetime import UTC, datetime

import pytest

from cli.remote.comparison import candidates, rows

CHECKS = {"commands": ["make test"]}
RESULT = {"kind": "result", "job": 0, "about": {"files": 2, "added": 10, "removed": 3}}


def job(number=0, status="succeeded", **members):
    return {"jobId": f"task-7/{number}", "job": number, "status": status, "agent": "codex"} | members


def compared(*jobs, files=(), **task):
    now = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    return candidates({"taskId": "task-7", "agent": "codex", "jobs": list(jobs) or [job()]} | task, files, now)


def test_a_row_has_agent_checks_changes_cost_and_time():
    times = {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:12.5Z"}
    found = compared(job(usage={"costUsd": 0.5}, **times), files=[RESULT], checks=CHECKS, pickedJob=0)
    (row,) = rows(found)[1:]
    assert row == ["0", "codex", "succeeded", "passed", "2", "+10 −3", "$0.5000", "12.5s", "picked"]  # noqa: RUF001


def test_a_job_that_runs_shows_its_time_so_far_and_no_verdict():
    (row,) = rows(compared(job(status="running", startedAt="2026-01-01T00:00:00Z"), checks=CHECKS))[1:]
    assert row == ["0", "codex", "running", "-", "-", "-", "-", "60.0s", ""]


@pytest.mark.parametrize(
    ("members", "checks", "verdict"),
    [
        ({"status": "succeeded"}, CHECKS, "passed"),
        ({"status": "failed", "reason": "check_failed"}, CHECKS, "failed"),
        ({"status": "failed", "reason": "timed_out"}, CHECKS, None),
        ({"status": "succeeded"}, {"setup": "npm ci", "commands": []}, None),
        ({"status": "succeeded"}, None, None),
    ],
)
def test_the_verdict_of_the_checks_is_said_only_where_it_is_known(members, checks, verdict):
    (found,) = compared(job(**members), checks=checks)
    assert found.get("checks") == verdict


def test_an_agent_that_reports_no_dollars_is_compared_by_its_tokens():
    (row,) = rows(compared(job(usage={"inputTokens": 1000, "outputTokens": 234})))[1:]
    assert row[6] == "1,234 tokens"


def test_an_older_server_names_no_agents_of_jobs():
    (found,) = compared({name: value for name, value in job().items() if name != "agent"})
    assert found["agent"] == "codex"


@pytest.mark.parametrize("about", [None, [], "x", {}, {"files": "2"}, {"files": -1}, {"files": True, "added": None}])
def test_a_description_of_a_foreign_worker_is_not_trusted(about):
    (found,) = compared(files=[RESULT | {"about": about}])
    assert {"files", "added", "removed"}.isdisjoint(found)
    assert rows([found])[1][4:6] == ["-", "-"]
