"""Secrets stay on the worker: a job gets the values it names, and what is stored in Postgres holds none of them."""

import base64
import json

import pytest
from support.program import until
from support.repositories import Tree

VALUE = "s3cret/value+of-the-worker"
MOUNTED = "mounted-value-0123456789"


@pytest.fixture
def holder(cluster, home):
    """A cluster with one worker that holds secrets, and one that does not."""
    directory = home / "secrets"
    directory.mkdir()
    (directory / "MOUNTED_KEY").write_text(f"{MOUNTED}\n")
    cluster.add_worker("bare", "--capability", "shell", "--capability", "scripted")
    cluster.env.update(ADO_SECRETS="DEPLOY_KEY", ADO_SECRETS_DIR=str(directory), DEPLOY_KEY=VALUE)
    cluster.add_worker("holder")
    until(lambda: len(listed(cluster)) == 2, "both workers", 90)
    return cluster


def listed(cluster):
    return json.loads(cluster.ado("workers", "list", "-o", "json", check=0).stdout)["items"]


def stored(cluster):
    """Return every byte of the log as it is stored."""
    rows = cluster.sql("select coalesce(data, convert_to(body::text, 'UTF8')) from ado.events order by task_id, seq")
    return b"".join(bytes(row[0]) for row in rows)


def assert_nothing_told(cluster):
    everything = stored(cluster)
    for value in (VALUE, MOUNTED, cluster.token):
        assert value.encode() not in everything
        for shift in range(3):
            coded = base64.b64encode(b"\n" * shift + value.encode())
            assert coded[4:-4] not in everything
    return everything


def test_a_job_gets_the_secrets_it_names_and_only_holders_run_it(holder):
    script = 'printf %s "$DEPLOY_KEY" | wc -c; printf %s "$MOUNTED_KEY" | wc -c'
    done = holder.ado(
        "run", "--remote", "--agent", "shell", "--secret", "DEPLOY_KEY", "--secret", "MOUNTED_KEY", script, check=0
    )
    assert done.stdout == f"{len(VALUE)}\n{len(MOUNTED)}\n".encode()
    task = holder.task("task-1")
    assert task["jobs"][0]["workerId"] == "holder"
    assert VALUE not in json.dumps(task)
    done = holder.ado("run", "--remote", "--agent", "shell", "--require", "secret:DEPLOY_KEY", "echo ${MOUNTED_KEY-no}")
    assert done.stdout == b"no\n"


def test_output_with_a_secret_is_masked_before_it_is_stored(holder):
    script = """
    echo "plain $DEPLOY_KEY and $MOUNTED_KEY"; echo "err $DEPLOY_KEY" >&2
    printf %s "$DEPLOY_KEY" | base64; printf 'x%s' "$DEPLOY_KEY" | base64; printf 'xx%s' "$MOUNTED_KEY" | base64
    printf %s "${DEPLOY_KEY%worker}"; sleep 0.3; echo "${DEPLOY_KEY#s3cret/value+of-the-}"
    echo "token $ADO_TOKEN"; printf '\\377%s\\377\\n' "$DEPLOY_KEY"
    """
    done = holder.ado(
        "run", "--remote", "--agent", "shell", "--secret", "DEPLOY_KEY", "--secret", "MOUNTED_KEY", script, check=0
    )
    everything = assert_nothing_told(holder)
    assert done.stdout.startswith(b"plain *** and ***\n")
    assert b"token ***\n" in done.stdout
    assert b"\xff***\xff\n" in done.stdout
    assert b"err ***\n" in done.stderr
    assert b"plain *** and ***\n" in everything


def test_events_of_an_agent_are_masked_as_well(holder):
    event = json.dumps({"agent": {"event": "text", "text": f"it is {VALUE}"}})
    holder.ado("run", "--remote", "--agent", "scripted", "--require", "secret:DEPLOY_KEY", event, check=0)
    assert b"it is ***" in stored(holder).replace(b'"prompt"', b"")
    told = [event for event in holder.events("task-1") if event["type"] == "agent"]
    assert told[0]["text"] == "it is ***"


def test_a_file_with_a_secret_stays_on_the_worker_and_is_reported(holder, home):
    tree = Tree(home / "checkout")
    tree.commit({"a": "1\n"})
    script = 'echo "key=$DEPLOY_KEY" > config.ini; echo 2 >> a; echo x > "$MOUNTED_KEY"'
    wish = ("run", "--remote", "--repo", "--agent", "shell", "--secret", "DEPLOY_KEY", "--secret", "MOUNTED_KEY")
    done = holder.ado(*wish, script, check=0, cwd=tree.path)
    assert b"left out: config.ini (contains a secret of the worker)" in done.stderr
    assert b"left out: *** (contains a secret of the worker)" in done.stderr
    shown = holder.ado("diff", "task-1", cwd=tree.path).stdout.decode()
    assert "+2" in shown
    assert VALUE not in shown
    assert_nothing_told(holder)
    assert MOUNTED not in str(holder.sql("select about from ado.files"))


def test_a_secret_that_is_not_masked_or_not_offered_is_reported(cluster, home):
    directory = home / "secrets"
    directory.mkdir()
    (directory / "PIN").write_text("abc12")
    (directory / "OTHER").write_text("another-value")
    cluster.env.update(ADO_SECRETS_DIR=str(directory))
    cluster.add_worker("holder", "--capability", "shell", "--capability", "secret:PIN")
    done = cluster.ado("run", "--remote", "--agent", "shell", "--secret", "PIN", "echo pin $PIN", check=0)
    assert done.stdout == b"pin abc12\n"
    assert b"the secret PIN is shorter than 6 bytes and is not masked" in done.stderr
    assert b"holder holds secret:OTHER and does not offer it" in cluster.ado("doctor").stdout


def test_a_registered_value_is_masked_after_its_acknowledgement(cluster):
    cluster.add_worker("w0")
    script = """
    v=registered-$((100 + 23))-value; printf '%s\\n' "$v" | ado mask - && echo "out $v"; echo "err $v" >&2
    w=$(printf 'first line %s\\nsecond line' "$v$v"); ado mask "$w" && echo "$w" | base64
    ado mask short; echo "code $?"; ado mask -- -$v-; echo "again -$v-"
    (exec 9>&-; exec env -u ADO_EVENTS -u ADO_EVENTS_FD ado mask closed-$v) && echo "tool closed-$v"
    """
    done = cluster.ado("run", "--remote", "--agent", "shell", script, check=0)
    assert done.stdout.splitlines()[0] == b"out ***"
    assert b"err ***" in done.stderr
    assert done.stdout.endswith(b"code 1\nagain ***\ntool ***\n")
    assert b"not masked: the value is shorter than 6 bytes" in done.stderr
    everything = stored(cluster)
    assert b"registered-123-value" not in everything
    assert b"c2Vjb25kIGxpbm" not in everything.replace(b"\\n", b"")


def test_a_value_cannot_be_registered_outside_of_a_job(cluster):
    refused = cluster.ado("mask", "some-value", check=2)
    assert b"works inside a job" in refused.stderr
