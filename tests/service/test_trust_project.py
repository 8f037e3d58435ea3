"""``--trust-project`` from the command line to the worker, and what is shown of it."""


def test_trust_belongs_to_the_task_and_is_shown(cluster):
    for number, words in enumerate(((), ("--trust-project",)), 1):
        cluster.ado("run", "--remote", "--detach", "--agent", "shell", *words, "true", check=0)
        trusted = bool(words)
        assert cluster.task(f"task-{number}").get("trustProject", False) == trusted
        shown = cluster.ado("tasks", "show", f"task-{number}", check=0).stdout
        assert (b"trusts the project" in shown) == trusted


def test_trust_needs_a_worker(cluster):
    assert cluster.ado("run", "--agent", "shell", "--trust-project", "true").returncode == 2
