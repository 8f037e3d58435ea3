"""Templates of tasks with a repository: each run starts from the newest commit of the remote's branch."""

from support.program import until
from support.repositories import Checkout

FAKE_SSH = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift 2; done
shift
exec sh -c "$*"
"""


def test_a_template_and_its_schedule_start_from_the_newest_commit_of_the_branch(cluster, tmp_path):
    """Over git's ssh protocol, with a stand-in for ssh that runs the other end here."""
    ssh, remote = tmp_path / "ssh", tmp_path / "remote.git"
    ssh.write_text(FAKE_SSH)
    ssh.chmod(0o755)
    cluster.add_worker("w0", env={"ADO_GIT_HOSTS": "git.example", "GIT_SSH_COMMAND": str(ssh)})
    checkout = Checkout(cluster.home / "checkout", cluster)
    checkout.git("init", "--quiet", "--bare", str(remote))
    checkout.commit({"a": "1\n", "below/b": "x\n"})
    checkout.git("remote", "add", "origin", f"file://{remote}")
    checkout.git("push", "--quiet", "--set-upstream", "origin", "main")
    checkout.git("remote", "set-url", "origin", f"ssh://git@git.example{remote}")
    until(lambda: b"git:git.example" in cluster.ado("workers", "list", "-o", "json").stdout, "the worker")
    checkout.run("cat a; echo {what} > a")
    saved = checkout.ado("template", "save", "next", "--from", "task-1", check=0)
    assert f"the newest commit of refs/heads/main of ssh://git@git.example{remote}".encode() in saved.stderr
    checkout.commit({"a": "2\n"})
    checkout.git("push", "--quiet", f"file://{remote}", "main")
    done = cluster.ado("run", "@next", "--var", "what=3", check=0)
    assert done.stdout == b"2\n"
    checkout.ado("apply", "task-2", check=0)
    assert (checkout.path / "a").read_text() == "3\n"
    cluster.ado("schedule", "add", "* * * * * *", "@next", "--var", "what=4", check=0)
    until(lambda: cluster.sql("select 1 from ado.tasks where task_id = 3 and status = 'succeeded'"), "a scheduled run")
    cluster.ado("schedule", "remove", "schedule-1", check=0)
    assert cluster.ado("logs", "task-3").stdout == b"2\n"
