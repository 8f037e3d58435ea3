"""How templates are saved, from what, and by whom."""

import orjson
import pytest
from support.schedules import ANNA, BOB, SECOND, TASK, add, error_of, put_off, run, tasks


@pytest.mark.parametrize("name", ["", "A", "a b", "../a", "-a", "a" * 64, "a\n", "ä", "a\0", "@a", "a/b"])
def test_odd_names_of_templates_are_refused(real, name):
    message, hint = error_of(real, "templates.save", name=name, task=TASK)
    assert "name" in message
    assert hint
    assert real.call("templates.get", name=name) == "no_such_template"


def test_a_template_that_exists_is_changed_only_on_request_and_by_who_may(real):
    assert real.call("templates.save", name="hi", task=TASK) == "template_exists"
    real.be(BOB)
    assert real.call("templates.save", name="hi", task=TASK, overwrite=True) == "forbidden"
    assert real.call("templates.save", name="bobs", task=TASK).saved_by == "bob"
    real.be(ANNA)
    changed = real.call("templates.save", name="bobs", task=TASK | {"prompt": "{b}{a}{b}"}, overwrite=True)
    assert (changed.variables, changed.saved_by) == (["b", "a"], "anna")


def test_a_template_is_checked_when_it_is_saved(real):
    for task, says in (
        ({"prompt": " "}, "prompt"),
        ({"prompt": "x", "env": {"A": "secret"}}, "env"),
        ({"prompt": "x", "stdin": True}, "stdin"),
        ({"prompt": "x", "idempotencyKey": "k"}, "idempotencyKey"),
        ({"prompt": "x", "workspace": {"fileId": "file-" + "0" * 32}}, "workspace"),
        ({"prompt": "x", "budget": {"tokens": 1}}, "budget"),
        ({"prompt": "x", "approve": "all"}, "approve"),
        ({"prompt": "x", "workers": 100_000}, "workers"),
        ({"prompt": "x\0"}, "NUL"),
    ):
        assert says in error_of(real, "templates.save", name="bad", task=task)[0]
    assert "either task or fromTask" in error_of(real, "templates.save", name="bad")[0]
    assert real.call("templates.save", name="bad", fromTask="task-7") == "no_such_task"


def test_a_template_from_a_task_has_what_belongs_to_no_single_run(real):
    real.call(
        "tasks.create", prompt="fix {issue}", agents=["codex", "gemini-cli"], workers=2,
        requires=["gpu", "git:example.com"], resources={"cpu": 2}, priority=3, retries=1, labels={"a": "b"},
        env={"KEY": "secret"}, agentArgs={"model": "m"},
        network="none", approve="edits", budget={"tokens": 9}, checks={"commands": ["true"]}, onFailure="fail_fast",
        timeoutSeconds=60, trustProject=True, workspace={"caches": ["npm"]},
    )  # fmt: skip
    saved = real.call("templates.save", name="fix", fromTask="task-1", prompt="mend {issue}")
    assert saved.left_out == ["workspace", "env.KEY"]
    assert "secret" not in str(real.sql("select t::text from ado.templates t"))
    start(real, "fix", issue="7")
    before, after = ({name: row[name] for name in row.keys() - DIFFERS} for row in map(dict, tasks(real)))
    assert after.pop("prompt") == "mend 7"
    assert before.pop("prompt") == "fix {issue}"
    assert [name for name in before.pop("requires") if name != "git:example.com"] == after.pop("requires")
    assert before == after


DIFFERS = {"task_id", "created_at", "idempotency_key", "input_digest", "workspace"}


def start(real, name, **variables):
    """Run a template as a program does."""
    task = real.call("templates.get", name=name).task
    for variable, value in variables.items():
        task["prompt"] = task["prompt"].replace(f"{{{variable}}}", value)
    assert not isinstance(real.call("tasks.create", **task), str)


REMOTE = {"url": "https://example.com/x", "commit": "a" * 40, "ref": "refs/heads/main"}


def test_a_template_from_a_task_with_a_pushed_branch_follows_it(real):
    workspace = {"commit": "b" * 40, "branch": "mine", "directory": "below", "push": True, "remote": REMOTE}
    real.call("tasks.create", prompt="x", requires=["git:example.com"], workspace=workspace)
    saved = real.call("templates.save", name="fix", fromTask="task-1")
    assert saved.left_out is None
    add(real, template="fix", variables={})
    put_off(real, SECOND)
    run(real)
    task = tasks(real)[1]
    assert orjson.loads(task["workspace"]) == {
        "branch": "mine", "directory": "below", "push": True, "remote": {"url": REMOTE["url"], "ref": REMOTE["ref"]},
    }  # fmt: skip
    assert task["requires"] == ["git:example.com", "workspace:ref"]


@pytest.mark.parametrize("workspace", [{}, {"fileId": None, "commit": "b" * 40}])
def test_a_template_from_a_task_whose_commit_was_sent_starts_in_an_empty_directory(real, workspace):
    real.call("tasks.create", prompt="x", workspace=workspace)
    saved = real.call("templates.save", name="fix", fromTask="task-1")
    assert saved.task["workspace"] == {}
    assert saved.left_out == (["workspace"] if workspace else None)
    assert real.call("templates.get", name="fix").task["workspace"] == {}


@pytest.mark.parametrize(
    "workspace",
    [
        {"remote": {"url": REMOTE["url"]}},
        {"remote": {"url": REMOTE["url"], "ref": "refs/heads/x"}, "commit": "a" * 40},
        {"remote": {"url": REMOTE["url"], "ref": "refs/heads/x"}, "fileId": "file-" + "0" * 32},
        {"remote": {"url": "https://me:secret@example.com/x", "ref": "refs/heads/x"}},
    ],
)
def test_a_branch_to_follow_is_named_in_full_and_alone(real, workspace):
    for path, value in (("tasks.create", {}), ("templates.save", {"name": "x"})):
        task = {"prompt": "x", "workspace": workspace}
        message, _ = error_of(real, path, **(value | {"task": task} if value else task))
        assert message.startswith("workspace")
        assert "secret" not in message


def test_a_template_from_a_task_with_input_is_refused(real):
    real.call("tasks.create", prompt="cat", agent="shell", stdin=True)
    assert "stdin" in error_of(real, "templates.save", name="cat", fromTask="task-1")[0]


def test_a_template_in_use_is_not_removed(real):
    name = add(real)
    assert "schedule-1" in error_of(real, "templates.remove", name="hi")[0]
    real.call("schedules.remove", scheduleId=name)
    assert real.call("templates.remove", name="hi").name == "hi"
    assert real.call("templates.remove", name="hi") == "no_such_template"
