"""A repository is sent and its result applied, through two replicas and with real git."""

import base64
import random
import re

import pytest
from support.program import Cluster, until
from support.repositories import Checkout, Tree

from app.rpc.client import CallError, HttpClient


@pytest.fixture
def checkout(cluster):
    cluster.add_worker("w0", url=",".join(cluster.urls))
    cluster.add_worker("w1", url=",".join(reversed(cluster.urls)))
    return Checkout(cluster.home / "checkout", cluster)


def test_an_edit_is_fetched_as_a_branch_and_applied(checkout):
    base = checkout.commit({"calc": "a - b\n"})
    done = checkout.run("sed -i 's/-/+/' calc; echo new > added; git log --format=%s; git status --short")
    assert done.stdout == b"a commit\n M calc\n?? added\n"
    assert b"2 files +2" in done.stderr
    assert b"ado/task-1" in done.stderr
    shown = checkout.ado("diff", "task-1").stdout.decode()
    assert "-a - b\n+a + b\n" in shown
    assert (checkout.path / "calc").read_text() == "a - b\n"
    checkout.ado("apply", "task-1")
    assert (checkout.path / "calc").read_text() == "a + b\n"
    assert checkout.git("status", "--short") == " M calc\n?? added\n"
    checkout.git("stash", "--include-untracked")
    checkout.ado("checkout", "task-1")
    assert checkout.git("log", "--format=%an %s", "-2").splitlines()[1] == "me a commit"
    assert checkout.git("rev-parse", "HEAD~1").strip() == base
    assert checkout.git("symbolic-ref", "--short", "HEAD") == "ado/task-1\n"
    refs = checkout.git("for-each-ref", "--format=%(refname)").split()
    assert set(refs) == {
        "refs/heads/main",
        "refs/heads/ado/task-1",
        "refs/ado/task-1/0",
        "refs/ado/task-1/base",
        "refs/stash",
    }


def test_the_printed_commands_for_a_result_work(checkout):
    checkout.commit({"a": "1\n"})
    assert b"nothing was changed" in checkout.run("true").stderr
    done = checkout.run('echo $ADO_JOB_INDEX > "$(printf "b\\351")"; mkdir empty', "--workers", "2").stderr.decode()
    for job in range(2):
        (line,) = [line for line in done.splitlines() if line.startswith(f"ado: [{job}] 1 file")]
        for command in ("diff", "apply", "checkout"):
            (words,) = re.findall(rf"ado ({command} task-2 --job {job})(?:,|$)", line)
            checkout.ado(*words.split())
            checkout.git("checkout", "--quiet", "--force", "main")
            checkout.git("clean", "-dffx")


def test_a_job_starts_in_the_directory_of_the_caller(checkout):
    checkout.commit({"pkg/p": "1\n", "top": "1\n"})
    where = checkout.path / "pkg" / "new \u00e9"
    where.mkdir()
    command = ("run", "--remote", "--repo", "--agent", "shell", "pwd; ls; git status --short; echo x > ../here")
    for directory, wanted in ((checkout.path / "pkg", ["p"]), (where, [])):
        done = checkout.ado(*command, cwd=directory).stdout.decode().splitlines()
        assert done[0].endswith(f"/job/{directory.relative_to(checkout.path)}")
        assert done[1:] == wanted
    assert "pkg/here" in checkout.ado("diff", "task-2", "--stat", cwd=where).stdout.decode()
    client = HttpClient(checkout.cluster.urls, checkout.cluster.token)
    with pytest.raises(CallError, match="leads out"):
        client.mutate("tasks.create", {"prompt": "x", "workspace": {"directory": "a/../../b"}})
    client.close()


def test_uncommitted_changes_are_reported_and_sent_only_with_the_option(checkout):
    checkout.commit({"a": "1\n", ".gitignore": "*.log\n"})
    checkout.write({"a": "2\n", "new": "n\n", ".env": "S=1\n", "x.log": "l\n"})
    done = checkout.run("cat a; ls -A")
    assert b"uncommitted changes stay here: a, .env, new; add --dirty" in done.stderr
    assert done.stdout == b"1\n.git\n.gitignore\na\n"
    done = checkout.run("cat a; ls -A; echo 3 >> a", "--dirty")
    assert b"not sent, because it looks like a secret or is a repository of its own: .env" in done.stderr
    assert done.stdout == b"2\n.git\n.gitignore\na\nnew\n"
    assert checkout.git("status", "--porcelain") == " M a\n?? .env\n?? new\n"
    checkout.ado("apply", "task-2")
    assert checkout.read("a") == "2\n3\n"
    assert checkout.git("status", "--porcelain") == " M a\n?? .env\n?? new\n"


def test_overlapping_local_changes_refuse_an_apply_without_loss(checkout):
    checkout.commit({"a": "1\n", "b": "1\n", "c": "1\n"})
    checkout.run("echo 2 > a; echo 2 > b; echo new > d; mkdir e; echo x > e/f")
    checkout.write({"a": "mine\n", "c": "mine\n", "d": "mine\n", "e": "mine\n"})
    before = checkout.git("status", "--porcelain")
    refused = checkout.ado("apply", "task-1", check=1)
    assert refused.stderr.decode().splitlines() == [
        "ado: local changes overlap with the result: a, d, e",
        "ado: commit or move them away, then repeat: ado apply task-1; to look at it: ado diff task-1",
    ]
    assert checkout.git("status", "--porcelain") == before
    assert [checkout.read(name) for name in "abcde"] == ["mine\n", "1\n", "mine\n", "mine\n", "mine\n"]
    checkout.git("checkout", "a")
    for name in "de":
        (checkout.path / name).unlink()
    checkout.ado("apply", "task-1")
    assert [checkout.read(name) for name in ("a", "b", "c", "d", "e/f")] == ["2\n", "2\n", "mine\n", "new\n", "x\n"]
    again = checkout.ado("apply", "task-1")
    assert b"already applied" in again.stderr


def test_later_local_commits_are_merged_or_refused(checkout):
    text = "".join(f"{number}\n" for number in range(20))
    checkout.commit({"a": text})
    checkout.run("sed -i s/^15$/fifteen/ a")
    checkout.commit({"a": text.replace("3\n", "three\n", 1)})
    checkout.ado("apply", "task-1")
    assert {"three", "fifteen"} <= set(checkout.read("a").split())
    checkout.git("checkout", "a")
    checkout.commit({"a": text.replace("15\n", "XV\n")})
    refused = checkout.ado("apply", "task-1", check=1)
    assert b"conflicts with what was committed here: a\n" in refused.stderr
    assert checkout.git("status", "--porcelain") == ""


def test_several_jobs_are_fetched_as_separate_branches(checkout):
    checkout.commit({"a": "1\n"})
    checkout.run('[ "$ADO_JOB_INDEX" = 1 ] || echo $ADO_JOB_INDEX > a', "--workers", "3")
    assert b"several jobs of task-1 changed something: 0, 2" in checkout.ado("diff", "task-1", check=2).stderr
    for command in ("diff", "apply"):
        assert b"ado: job 1 of task-1 changed nothing\n" in checkout.ado(command, "task-1", "--job", "1").stderr
    none = checkout.ado("checkout", "task-1", "--job", "1", check=1)
    assert b"job 1 of task-1 changed nothing, so there is no branch" in none.stderr
    assert b"results are there of job 0, 1, 2" in checkout.ado("diff", "task-1", "--job", "3", check=1).stderr
    checkout.ado("apply", "task-1", "--job", "2")
    assert checkout.read("a") == "2\n"
    checkout.git("checkout", "a")
    checkout.ado("checkout", "task-1", "--job", "2")
    assert checkout.git("symbolic-ref", "--short", "HEAD") == "ado/task-1-3\n"


def test_a_checkout_keeps_commits_on_the_branch_and_names_the_next_step(checkout):
    checkout.commit({"a": "1\n"})
    checkout.run("echo 2 > a; echo new > b")
    checkout.write({"a": "mine\n", "b": "mine\n"})
    refused = checkout.ado("checkout", "task-1", check=1).stderr.decode()
    (command,) = re.findall(r"then: git (.*) \(the branch is made\)", refused)
    checkout.commit({"a": "mine\n", "b": "mine\n"})
    checkout.git(*command.split())
    mine = checkout.commit({"a": "3\n"})
    checkout.git("checkout", "--quiet", "main")
    checkout.ado("checkout", "task-1")
    assert checkout.git("rev-parse", "ado/task-1").strip() == mine

    checkout.git("checkout", "--quiet", "main")
    checkout.git("branch", "--force", "ado/task-1", "main")
    assert b"exists and does not hold the result" in checkout.ado("checkout", "task-1", check=1).stderr
    checkout.git("branch", "--move", "ado/task-1", "other")
    checkout.git("branch", "ado")
    refused = checkout.ado("checkout", "task-1", check=1).stderr.decode()
    (command,) = re.findall(r"another name: git (.*)", refused)
    checkout.git(*command.replace("NAME", "mine").split())
    assert checkout.read("b") == "new\n"


def test_a_task_without_a_result_is_distinguished_from_a_running_one(checkout):
    checkout.commit({"a": "1\n"})
    checkout.ado("run", "--remote", "--agent", "shell", "true")
    assert b"task-1 has no result\n" in checkout.ado("apply", "task-1", check=1).stderr
    checkout.run("sleep 60", "--detach")
    assert b"task-2 has no result yet\nado: wait for it: ado wait task-2" in (
        checkout.ado("apply", "task-2", check=1).stderr
    )
    checkout.ado("cancel", "task-2")


def test_work_of_a_failed_agent_is_fetched_and_a_retry_starts_fresh(checkout):
    checkout.commit({"a": "1\n"})
    checkout.run("cat a; pwd; echo $ADO_ATTEMPT >> a; exit 3", "--retries", "1", check=3)
    assert "+2\n" in checkout.ado("diff", "task-1").stdout.decode()
    assert "+1\n+2" not in checkout.ado("diff", "task-1").stdout.decode()
    printed = checkout.cluster.ado("logs", "task-1").stdout.decode().splitlines()
    assert printed[0::2] == ["1", "1"]
    assert printed[1] == printed[3], "every attempt has the same path"


def test_files_are_downloaded_only_below_the_chosen_directory(checkout, tmp_path):
    checkout.commit({"src/a": "1\n", "src/b": "1\n"})
    checkout.run("echo 2 > src/a; ln -s a src/link; ln -s /etc/passwd out; mkdir deep; ln -s ../../x deep/up")
    checkout.ado("download", "task-1", "src", "--to", str(tmp_path), cwd="/")
    assert {path.name: path.read_text() for path in (tmp_path / "src").iterdir()} == {
        "a": "2\n", "b": "1\n", "link": "2\n",
    }  # fmt: skip
    refused = checkout.ado("download", "task-1", "src/a", "--to", str(tmp_path / "src"), check=1)
    assert b"exists" in refused.stderr
    for path in ("/etc/passwd", "../x", "src/../../x", "~/x", "C:/x"):
        assert b"is not a path within" in checkout.ado("download", "task-1", path, check=2).stderr
    for path in ("out", "deep"):
        assert b"leads out" in checkout.ado("download", "task-1", path, "--to", str(tmp_path), check=1).stderr
    assert b"has no nothing" in checkout.ado("download", "task-1", "nothing", check=1).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_a_repository_that_cannot_be_sent_is_reported(checkout):
    assert b"has no commit yet" in checkout.run("true", check=1).stderr
    checkout.write({"a": "1\n"})
    assert checkout.run("cat a", "--dirty").stdout == b"1\n"
    checkout.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    checkout.write({".gitattributes": "*.bin filter=lfs\n", "big.bin": "version https://git-lfs.github.com/spec/v1\n"})
    checkout.git("add", "a", ".gitattributes", "big.bin")
    checkout.git("commit", "--quiet", "-m", "all")
    told = checkout.run("true").stderr
    assert b"submodules are not sent: sub" in told
    assert b"1 files are in Git LFS; workers get the pointers, not the content: big.bin" in told
    for options in (("--no-repo", "--dirty"), ("--push",)):
        assert (
            b"ado:"
            in checkout.ado(
                "run", "--remote", "--agent", "shell", *options, "x", check=2 if "--dirty" in options else 1
            ).stderr
        )
    outside = checkout.ado("run", "--remote", "--repo", "--agent", "shell", "x", check=1, cwd="/")
    assert b"there is no git repository here" in outside.stderr


def test_a_bundle_over_the_limit_is_refused_with_its_size(dsn, home):
    cluster = Cluster(dsn, home, env={"ADO_FILE_BYTES": "20000"})
    try:
        checkout = Checkout(home / "checkout", cluster.add_replicas(2))
        checkout.commit({"noise": "".join(random.Random(1).choices("0123456789abcdef", k=60_000))})
        refused = checkout.run("true", check=2).stderr.decode()
        assert re.search(r"size: \d+ bytes are more than the limit of 20000 \(ADO_FILE_BYTES\)", refused)
        cluster.add_worker("w0")
        done = checkout.ado("run", "--remote", "--no-repo", "--agent", "shell", "true", check=0)
        assert done.stdout == b""
    finally:
        cluster.close()


FAKE_SSH = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift 2; done
echo "$1" >> {log}
shift
exec sh -c "$*"
"""


def test_a_pushed_commit_is_fetched_and_the_branch_is_pushed(cluster, tmp_path):
    """Over git's ssh protocol, with a stand-in for ssh that runs the other end here."""
    ssh, log = tmp_path / "ssh", tmp_path / "hosts"
    ssh.write_text(FAKE_SSH.replace("{log}", str(log)))
    ssh.chmod(0o755)
    cluster.add_worker("w0", env={"ADO_GIT_HOSTS": "git.example", "GIT_SSH_COMMAND": str(ssh)})
    checkout = Checkout(cluster.home / "checkout", cluster)
    remote = tmp_path / "remote.git"
    checkout.git("init", "--quiet", "--bare", str(remote))
    pushed = checkout.commit({"large": "x" * 100_000})
    checkout.git("remote", "add", "origin", str(remote))
    checkout.git("push", "--quiet", "--set-upstream", "origin", "main")
    checkout.git("remote", "set-url", "origin", f"ssh://git@git.example{remote}")
    checkout.commit({"a": "1\n"})
    until(lambda: b"git:git.example" in cluster.ado("workers", "list", "-o", "json").stdout, "the worker")
    done = checkout.run("cat a; wc -c < large; echo 2 > a", "--push")
    assert done.stdout == b"1\n100000\n"
    ((size, workspace),) = cluster.sql(
        "select f.size, t.workspace from ado.files f join ado.tasks t using (task_id) where f.kind = 'base'"
    )
    assert size < 1000
    assert workspace["remote"] == {
        "url": f"ssh://git@git.example{remote}", "commit": pushed, "ref": "refs/heads/main",
    }  # fmt: skip
    assert set(log.read_text().split()) == {"git@git.example"}
    there = Tree(remote, init=False)
    assert there.git("show", "ado/task-1:a") == "2\n"
    assert b"pushed ado/task-1 to ssh://git@git.example" in done.stderr


def test_ignored_files_travel_for_the_job_alone_and_do_not_come_back(checkout):
    checkout.commit({".gitignore": "*.local\n", "a": "1\n", ".ado.toml": 'bring = ["conf/*.local"]\n'})
    checkout.write({".env": "S=hunter2\n", "conf/x.local": "x\n", "conf/y": "y\n"})
    (checkout.path / ".git/info/exclude").write_text(".env\n")
    script = """
        cat .env conf/x.local; stat -c %a .env conf/x.local; git status --short; echo 2 > a
        echo changed > .env; git add -A; git commit -qm mine; rm .gitignore"""
    done = checkout.run(script, "--bring", ".env")
    assert done.stdout == b"S=hunter2\n600\n"
    assert b"brought along: .env" in done.stderr
    checkout.ado("tasks", "rm", "task-1")
    done = checkout.run(script.replace(".env ", ""))
    assert done.stdout.startswith(b"x\n600\n")
    assert b".ado.toml: bring ['conf/*.local']" in done.stderr
    done = checkout.run(script.replace("rm", "ls"), "--bring", ".env", "--bring", "conf")
    assert done.stdout.startswith(b"S=hunter2\nx\n600\n600\n")
    (task,) = re.findall(rb"task-\d+", done.stderr)[:1]
    changed = checkout.ado("diff", "--stat", task.decode()).stdout
    assert b"a |" in changed
    assert b".env" not in changed
    assert b"x.local" not in changed
    assert "hunter2" not in checkout.git("log", "--all", "-p")
    assert checkout.git("status", "--short") == "?? conf/\n"


def test_a_secret_that_only_the_repository_names_stays_here(checkout):
    checkout.commit({".gitignore": ".env\n", ".ado.toml": 'bring = [".env"]\nsetup = "cat .env"\n'})
    checkout.write({".env": "S=hunter2\n"})
    done = checkout.run("true", check=1)
    assert b"hunter2" not in done.stdout + done.stderr
    assert b"not brought, because the repository's .ado.toml names it: .env" in done.stderr


def test_the_changes_of_a_result_can_be_read_as_a_patch(checkout):
    checkout.commit({"calc": "a - b\n", "big": "x\n", ".gitattributes": "*.x diff=evil\n"})
    client = HttpClient(checkout.cluster.urls, checkout.cluster.make_token("viewer"))

    def patches(task):
        return [file for file in client.query("files.list", {"taskId": task})["items"] if file["kind"] == "patch"]

    def text(file):
        return base64.b64decode(client.query("files.read", {"fileId": file["fileId"]})["data"]).decode()

    checkout.run("sed -i 's/-/+/' calc; git config diff.evil.textconv 'touch /tmp/evil'; echo 1 > a.x")
    (patch,) = patches("task-1")
    assert (patch["job"], patch["about"]) == (0, {"cut": False})
    assert "-a - b\n+a + b\n" in text(patch)
    assert "+++ b/a.x" in text(patch)
    checkout.run("true")
    assert patches("task-2") == []
    checkout.run("seq 1 900000 > big")
    assert "Binary files a/big and b/big differ" in text(*patches("task-3"))
    checkout.run("for i in 1 2 3 4 5 6 7; do seq 1 130000 > many-$i; done")
    (patch,) = patches("task-4")
    assert (patch["size"], patch["about"]) == (0, {"cut": True})
    client.close()
