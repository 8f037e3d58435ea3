"""What two real replicas answer has the TypeScript types that they publish."""

import json
from pathlib import Path

import pytest
from support.program import Cluster

from app.rpc.client import HttpClient
from worker.agents import AGENTS
from worker.agents.base import Run

TRANSCRIPT = Path(__file__).parent.parent / "unit" / "worker" / "agents" / "transcripts" / "claude-tool-denied.jsonl"


@pytest.fixture
def cluster(dsn, home):
    """Two replicas, which wait long for heartbeats: the test is a worker that sends none."""
    made = Cluster(dsn, home, env={"ADO_SUSPECT_SECONDS": "60", "ADO_LEASE_SECONDS": "120"})
    try:
        yield made.add_replicas(2)
    finally:
        made.close()


@pytest.fixture
def api(cluster):
    client = HttpClient(cluster.urls, cluster.token)
    yield client
    client.close()


def finished_task(api):
    """Run a task by the worker protocol, with what a real agent said."""
    task = api.mutate("tasks.create", {"prompt": "é" * 2000, "labels": {"a": "b"}, "retries": 1})
    session = api.mutate("workers.register", {"workerId": "w", "capabilities": ["shell"], "slots": 1})["session"]
    for outcome in ("failed", "succeeded"):
        (job,) = api.mutate("workers.claim", {"workerId": "w", "session": session, "waitSeconds": 20})["jobs"]
        fence = {"workerId": "w", "jobId": job["jobId"], "attempt": job["attempt"]}
        reader = AGENTS["claude-code"].reader(Run("hello", Path("/job"), Path("/home")))
        lines = [json.loads(line) for line in TRANSCRIPT.read_text().splitlines()][1:]
        said = [{"type": "agent", **event} for line in lines for event in reader.feed(line)]
        written = [
            {"type": "output", "data": "text"},
            {"type": "output", "data": "/w==", "encoding": "base64"},
            {"type": "progress", "percent": 50, "message": "half way"},
            {"type": "checkpoint"},
            {"type": "dropped", "bytes": 5, "reason": "not_json"},
        ]
        api.mutate("workers.append", {**fence, "batch": 1, "events": [*said, *written]})
        api.mutate(
            "workers.finish",
            {**fence, "lastBatch": 1, "outcome": outcome, "exitCode": 0, "reason": "agent_error", "message": "m",
             "result": reader.result, "usage": reader.usage},
        )  # fmt: skip
    return task["taskId"]


def test_real_answers_have_the_published_types(project, compiled, cluster, api):
    """A literal with a member that its type lacks, or without one that it needs, does not compile."""
    task_id = finished_task(api)
    waiting = api.mutate("tasks.create", {"prompt": "x", "agent": "shell", "timeoutSeconds": 60})["taskId"]
    answers = {
        "tasks.get": [api.query("tasks.get", {"taskId": name}) for name in (task_id, waiting)],
        "tasks.list": [api.query("tasks.list")],
        "tasks.pause": [api.mutate("tasks.pause", {"taskId": waiting, "reason": "lunch"})],
        "tasks.resume": [api.mutate("tasks.resume", {"taskId": waiting})],
        "tasks.cancel": [api.mutate("tasks.cancel", {"taskId": waiting})],
        "workers.status": [api.query("workers.status")],
        "workers.list": [api.query("workers.list")],
    }
    (job,) = answers["tasks.get"][0]["jobs"]
    assert job["usage"]["inputTokens"] > 0
    assert job["result"]["text"]
    listed = answers["tasks.list"][0]["items"][-1]
    assert listed["promptStart"] == "é" * 200
    assert (listed["promptCut"], len(listed["prompt"]) < 2000) == (True, True)
    events = [event for name in (task_id, waiting) for event in cluster.events(name)]
    assert {"created", "agent", "requeued", "finished", "succeeded", "cancelled"} <= {event["type"] for event in events}
    text = (Path(__file__).parent / "types" / "answers.ts").read_text()
    for path, values in answers.items():
        router, name = path.split(".")
        text += f"export const {router}_{name}: Outputs['{router}']['{name}'][] = {json.dumps(values)};\n"
    text += f"export const events: AnyEvent[] = {json.dumps(events)};\n"
    (project / "answers.ts").write_text(text)
    assert compiled("--noEmit", "answers.ts") == (0, "")
    (project / "answers.ts").write_text(text.replace('"usage":', '"usages":'))
    assert compiled("--noEmit", "answers.ts")[0] != 0
