"""Lists say when there is more, and commands for many tasks say which ones they mean."""

import json

import pytest
from support.screen import Terminal

from app.rpc.client import HttpClient


def with_many(cluster):
    client = HttpClient(cluster.urls, cluster.token)
    for number in range(1, 206):
        labels = {"team": "web"} if number % 5 == 0 else {}
        client.mutate("tasks.create", {"prompt": f"prompt {number}", "labels": labels})
    client.close()
    return cluster


@pytest.fixture
def many(cluster):
    """205 queued tasks, every fifth of team web."""
    return with_many(cluster)


@pytest.fixture(scope="module")
def listed(shared_cluster):
    """The same, for tests that change none of them."""
    return with_many(shared_cluster)


def names(cluster, *arguments):
    return cluster.ado("tasks", "list", "-o", "name", *arguments, check=0).stdout.decode().split()


def test_a_cut_list_names_the_option_for_the_rest(listed):
    done = listed.ado("tasks", "list", check=0)
    assert len(done.stdout.splitlines()) == 1 + 20
    assert b"there are more: --all lists them" in done.stderr
    cursor = done.stderr.decode().split("--cursor ")[1].split()[0]
    assert names(listed, "--cursor", cursor)[0] == "task-185"
    assert b"there are more" not in listed.ado("tasks", "list", "--all", check=0).stderr


def test_large_limits_are_read_over_several_pages(listed):
    assert names(listed, "--all") == [f"task-{number}" for number in range(205, 0, -1)]
    assert len(names(listed, "--limit", "150")) == 150
    found = json.loads(listed.ado("tasks", "list", "--limit", "101", "-o", "json", check=0).stdout)
    assert (len(found["items"]), "nextCursor" in found) == (101, True)


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_a_limit_of_zero_is_a_usage_error(listed, limit):
    assert b"at least one" in listed.ado("tasks", "list", "--limit", limit, check=2).stderr


def test_a_list_shows_ages_and_json_exact_times(listed):
    assert b" s ago" in listed.ado("tasks", "list", "--limit", "1", check=0).stdout
    (task,) = json.loads(listed.ado("tasks", "list", "--limit", "1", "-o", "json", check=0).stdout)["items"]
    assert task["createdAt"].endswith("Z") or "+" in task["createdAt"]


def open_tasks(cluster):
    return cluster.sql("select count(*) from ado.tasks where cancel_requested_at is null")[0][0]


def test_several_tasks_are_cancelled_despite_an_unknown_one(many):
    done = many.ado("cancel", "1", "999", "task-2", "2", check=127)
    assert b"there is no task 'task-999'" in done.stderr
    assert open_tasks(many) == 203


def test_tasks_with_a_label_are_cancelled(many):
    many.ado("cancel", "--label", "team=web", "--yes", check=0)
    assert open_tasks(many) == 205 - 41
    done = many.ado("cancel", "--label", "team=nobody", check=0)
    assert b"no open task has these labels" in done.stderr


def test_many_tasks_are_cancelled_only_after_a_confirmation(many):
    assert b"--yes" in many.ado("cancel", "--all", check=2).stderr
    for answer, left in (("\n", 205), ("n\n", 205), ("y\n", 0)):
        with Terminal(["cancel", "--all"], many.client_env()) as seen:
            assert "205 tasks: task-205, task-204" in seen.until("[y/N]").replace("\n", "")
            seen.type(answer)
            assert seen.end() == (1 if left else 0)
        assert open_tasks(many) == left


def test_tasks_to_cancel_are_named_in_exactly_one_way(listed):
    for wish in ([], ["1", "--all"], ["--all", "--label", "a=b"]):
        assert b"--label or --all" in listed.ado("cancel", *wish, check=2).stderr


def test_cancelling_an_ended_task_is_not_an_error(many):
    many.ado("cancel", "1", check=0)
    done = many.ado("cancel", "1", check=0)
    assert b"task-1 is cancelled" in done.stderr


def test_a_list_is_filtered_by_status_label_text_and_age(many):
    many.ado("cancel", "1", "2", check=0)
    assert names(many, "--status", "cancelled,failed") == ["task-2", "task-1"]
    assert len(names(many, "--status", "cancelled", "--status", "queued", "--all")) == 205
    assert len(names(many, "--label", "team", "--all")) == 41
    assert names(many, "--label", "team=web", "--search", "PROMPT 20", "--all") == ["task-205", "task-200", "task-20"]
    assert names(many, "--search", "%") == []
    many.sql("update ado.tasks set created_at = now() - interval '3 days' where task_id < 204 returning 1")
    assert names(many, "--since", "2d") == ["task-205", "task-204"]
    assert names(many, "--since", "2030-12-31") == []
    assert b"did you mean queued?" in many.ado("tasks", "--status", "queud", check=2).stderr
    for given in (b"\xff", b""):
        assert b"Traceback" not in many.ado("tasks", "--search", given, check=2).stderr


def test_a_large_prompt_does_not_shorten_a_page(cluster):
    client = HttpClient(cluster.urls, cluster.token)
    for _ in range(12):
        client.mutate("tasks.create", {"prompt": "y" * 1_000_000})
    assert len(client.query("tasks.list", {"limit": 12})["items"]) == 12
    assert len(client.query("tasks.get", {"taskId": "task-12"})["prompt"]) == 1_000_000
    client.close()


def test_several_ended_tasks_are_removed_after_a_confirmation(many):
    many.ado("cancel", "1", "2", "3", check=0)
    assert b"--yes" in many.ado("tasks", "rm", "1", "2", check=2).stderr
    with Terminal(["tasks", "rm", "1", "2"], many.client_env()) as seen:
        assert "delete 2 tasks for good: task-1, task-2?" in seen.until("[y/N]").replace("\n", "")
        seen.type("n\n")
        assert seen.end() == 1
    done = many.ado("tasks", "rm", "1", "4", "3", "--yes")
    assert (done.returncode != 0, b"task-4 is queued" in done.stderr, b"ado cancel" in done.stderr) == (True,) * 3
    assert b"task-1 is removed" in done.stderr
    assert b"task-3 is removed" in done.stderr
