"""A viewer that means harm, or looks at what others made large: every answer has a bound."""

import contextlib
import json

import pytest

from app.rpc.client import HttpClient

MIB = 1024 * 1024
FRAME = 4 * MIB


def size(answer):
    return len(json.dumps(answer, ensure_ascii=False).encode())


@pytest.fixture
def operator(cluster):
    with contextlib.closing(HttpClient(cluster.urls, cluster.make_token("operator"))) as client:
        yield client


@pytest.fixture
def viewer(cluster):
    with contextlib.closing(HttpClient(cluster.urls, cluster.make_token("viewer"))) as client:
        yield client


def pages(viewer, procedure, **wish):
    """Yield every page of a list."""
    cursor = None
    while True:
        page = viewer.query(procedure, {**wish, "cursor": cursor})
        yield page
        cursor = page.get("nextCursor")
        if cursor is None:
            return


def test_a_list_of_tasks_carries_neither_results_nor_whole_prompts(cluster, operator, viewer):
    prompt = "é" * (MIB // 2 - 1)
    names = [
        operator.mutate("tasks.create", {"prompt": prompt, "agentArgs": {"a": "b" * 60_000}})["taskId"]
        for _ in range(8)
    ]
    names.append(operator.mutate("tasks.create", {"prompt": "x", "workers": 1000})["taskId"])
    cluster.sql(
        "update ado.jobs set result = to_json(repeat('r', 900000)), message = repeat('m', 9000)"
        " where job < 40 returning 1"
    )
    page = viewer.query("tasks.list", {"limit": 100})
    assert size(page) < MIB
    assert [task["taskId"] for task in page["items"]] == names[::-1]
    assert all("result" not in job for task in page["items"] for job in task["jobs"])
    assert [(len(task["prompt"]), task["promptCut"]) for task in page["items"][1:]] == [(1000, True)] * 8
    assert "promptCut" not in page["items"][0]


def test_pages_of_wide_tasks_are_bounded_in_bytes_and_miss_none(cluster, operator, viewer):
    names = [operator.mutate("tasks.create", {"prompt": "x", "workers": 1000})["taskId"] for _ in range(8)]
    # a control byte takes six in JSON: no reckoning by columns would see that
    cluster.sql("update ado.jobs set worker_id = repeat(chr(1), 200), message = repeat(chr(1), 9000) returning 1")
    found = list(pages(viewer, "tasks.list", limit=100))
    assert all(size(page) < FRAME for page in found)
    assert [task["taskId"] for page in found for task in page["items"]] == names[::-1]


def test_a_task_of_large_results_is_read_in_parts(cluster, operator, viewer):
    name = operator.mutate("tasks.create", {"prompt": "x", "workers": 1000})["taskId"]
    cluster.sql(
        "update ado.jobs set result = to_json(repeat('r', case when job < 40 then 900000 else 100 end)),"
        " message = repeat('m', 9000) returning 1"
    )
    task = viewer.query("tasks.get", {"taskId": name})
    assert size(task) < 2 * FRAME
    left_out = [job["job"] for job in task["jobs"] if "resultBytes" in job]
    assert len(task["jobs"]) == 1000
    assert 30 < len(left_out) < 40
    assert all(("result" in job) != ("resultBytes" in job) for job in task["jobs"])
    job = viewer.query("tasks.get", {"taskId": name, "job": left_out[0]})["jobs"][left_out[0]]
    assert (len(job["result"]), len(job["message"])) == (900_000, 9000)
    shown = cluster.ado("tasks", "show", name, "-o", "json", check=0)
    assert json.loads(shown.stdout)["jobs"][999]["result"] == "r" * 100
    assert f"ado tasks show {name} --job {left_out[0]}".encode() in shown.stderr
    alone = cluster.ado("tasks", "show", name, "--job", str(left_out[0]), "-o", "json", check=0)
    assert json.loads(alone.stdout)["jobs"][left_out[0]]["result"] == "r" * 900_000
