"""A job that writes anything to any descriptor ends once, on its first attempt, with its output unchanged."""

import base64
import contextlib
import json
import sys
from collections import Counter
from pathlib import Path

from hypothesis import strategies as st
from support.program import until

from app.rpc.client import HttpClient
from cli.render.lines import payload

from .inputs import CHUNKS, EVENT_LINES

JOBS = 4
ENDED = ("succeeded", "failed", "cancelled")
WRITER = Path(__file__).with_name("writer.py")

WRITES = st.one_of(
    st.tuples(st.sampled_from(["stdout", "stderr"]), CHUNKS),
    st.tuples(st.just("events"), EVENT_LINES),
    st.tuples(st.just("others"), CHUNKS),
)
PLANS = st.lists(
    st.fixed_dictionaries(
        {
            "writes": st.lists(WRITES, max_size=8),
            "lingers": st.sampled_from([False, False, False, True]),
            "exit_code": st.sampled_from([0, 0, 1, 7, 255]),
        }
    ),
    min_size=JOBS,
    max_size=JOBS,
)


def encoded(plans):
    """Return plans as the writer reads them."""
    return [
        {**plan, "writes": [(target, base64.b64encode(data.whole()).decode()) for target, data in plan["writes"]]}
        for plan in plans
    ]


def written(plan, stream):
    """Return what a job writes to a stream."""
    end = b"lingers" if plan["lingers"] and stream == "stdout" else b""
    return b"".join(data.whole() for target, data in plan["writes"] if target == stream) + end


def test_a_job_ends_once_for_any_output(cluster, fuzzer):
    """Jobs write junk to stdout, stderr, the events pipe and every other descriptor; lingering ones are cancelled."""
    cluster.add_worker("w1", "--slots", str(JOBS), "--capability", "shell")
    fuzzer.run(PLANS, lambda plans: run_task(cluster, plans), batch=10, shrink=False)
    assert "Traceback" not in Path(cluster.home, "worker-2.log").read_text()


def run_task(cluster, plans):
    """Run one task and hold its log to what was written."""
    path = cluster.home / "plans.json"
    path.write_text(json.dumps(encoded(plans)))
    with contextlib.closing(HttpClient(cluster.urls, cluster.token, timeout=30)) as client:
        prompt = f"exec {sys.executable} -I -S {WRITER} {path}"
        created = client.mutate("tasks.create", {"prompt": prompt, "agent": "shell", "workers": JOBS})
        task_id = created["taskId"]

        def jobs():
            return client.query("tasks.get", {"taskId": task_id})["jobs"]

        quick = [index for index, plan in enumerate(plans) if not plan["lingers"]]
        until(lambda: all(jobs()[index]["status"] in ENDED for index in quick), f"the end of {task_id}", 60)
        if len(quick) < JOBS:
            until(lambda: count_lingering(cluster, task_id) == JOBS - len(quick), f"{task_id} to linger", 60)
            client.mutate("tasks.cancel", {"taskId": task_id})
            until(lambda: all(job["status"] in ENDED for job in jobs()), f"the cancel of {task_id}", 60)
        ended = jobs()
    events = cluster.events(task_id)
    for index, plan in enumerate(plans):
        check_job(ended[index], [event for event in events if event.get("job") == index], plan)


def count_lingering(cluster, task_id):
    """Return how many jobs have written all and wait to be cancelled."""
    number = int(task_id.removeprefix("task-"))
    ask = "select job, data from ado.events where task_id = %s and type = 'output' and stream = 'stdout' order by seq"
    rows = cluster.sql(ask, number)
    last = {}
    for job, data in rows:
        last[job] = (last.get(job, b"") + bytes(data))[-16:]
    return sum(data.endswith(b"lingers") for data in last.values())


def check_job(job, events, plan):
    """Hold one job to one attempt, one end and its bytes."""
    kinds = Counter(event["type"] for event in events)
    assert job["attempt"] == 1, (job, kinds)
    assert kinds["finished"] == 1, (job, kinds)
    assert not kinds["requeued"] + kinds["released"], (job, kinds)
    for stream in ("stdout", "stderr"):
        stored = b"".join(payload(event) for event in events if event["type"] == "output" and event["stream"] == stream)
        assert stored == written(plan, stream), (job, stream)
    if plan["lingers"]:
        assert job["status"] == "cancelled", job
    else:
        assert job["exitCode"] == plan["exit_code"], job
        assert job["status"] == ("failed" if plan["exit_code"] else "succeeded"), job
