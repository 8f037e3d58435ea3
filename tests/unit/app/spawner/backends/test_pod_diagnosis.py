"""What real pods and real refusals, recorded from a cluster, are taken to mean."""

import json
from pathlib import Path

import pytest

from app.core.reasons import JOB_REASONS, POD_REASONS
from app.spawner.backends.kubernetes import ClusterRefused
from app.spawner.backends.pod_diagnosis import FINE, PodDiagnosis, PodTimeouts, judge, of_absence, of_pod, of_refusal
from cli.exits import INFRASTRUCTURE_REASONS
from db.model import ResourceAmounts
from db.pods import PodAction, PodRow

RECORDINGS = Path(__file__).parent / "recordings"


def recorded(case):
    lines = (RECORDINGS / f"pod-{case}.jsonl").read_text().splitlines()
    return [json.loads(line)["object"] for line in lines]


def story(case):
    """Return the different findings in their order."""
    found = [(finding.fate, finding.reason) for finding in map(of_pod, recorded(case))]
    return [item for number, item in enumerate(found) if number == 0 or item != found[number - 1]]


STORIES = {
    "ok": [("waits", ""), ("completed", "")],
    "term": [("waits", ""), ("completed", "")],
    "exit3": [("waits", ""), ("lost", "pod_failed")],
    "ignore-term": [("waits", ""), ("lost", "pod_failed")],
    "oomkilled": [("waits", ""), ("failed", "oom_killed")],
    "start-error": [("waits", ""), ("failed", "start_error")],
    "deadline": [("waits", ""), ("failed", "deadline")],
    "evicted": [("waits", ""), ("waits", "evicted"), ("lost", "evicted")],
    "image-pull": [("waits", ""), ("waits", "image_pull")],
    "image-never": [("waits", ""), ("waits", "image_pull")],
    "image-name": [("waits", ""), ("failed", "invalid_image")],
    "unschedulable": [("waits", ""), ("waits", "unschedulable")],
}


def test_every_recording_has_an_expected_diagnosis():
    assert {file.stem.removeprefix("pod-") for file in RECORDINGS.glob("pod-*.jsonl")} == STORIES.keys()


@pytest.mark.parametrize("case", STORIES)
def test_a_recorded_pod_gets_its_diagnosis_and_keeps_its_message(case):
    assert story(case) == STORIES[case]
    last = of_pod(recorded(case)[-1])
    if last.reason:
        assert last.message
        assert last.problem.hint == POD_REASONS[last.reason][1]


def test_an_ended_container_counts_before_the_phase_of_its_pod_changes():
    first = next(pod for pod in recorded("oomkilled") if of_pod(pod).reason)
    assert first["status"]["phase"] == "Running"
    assert of_pod(first).exit_code == 137


REFUSALS = {
    "already-exists": ("waits", ""),
    "uid-precondition": ("waits", ""),
    "not-found": ("waits", "cluster_refused"),
    "invalid-name": ("failed", "pod_invalid"),
    "pod-security": ("failed", "pod_security"),
    "quota": ("waits", "quota"),
}


def errors():
    return {item["case"]: item for item in map(json.loads, (RECORDINGS / "errors.jsonl").read_text().splitlines())}


@pytest.mark.parametrize("case", errors())
def test_a_recorded_refusal_is_understood(case):
    status = json.loads(errors()[case]["body"])
    found = of_refusal(ClusterRefused(errors()[case]["status"], status["reason"], status["message"]), task(), PATIENCE)
    assert (found.fate, found.reason) == REFUSALS[case]
    assert found.message == status["message"]


def test_an_overloaded_server_is_not_a_problem_of_the_pod():
    for status in (429, 503):
        assert of_refusal(ClusterRefused(status, "", "Too many requests", 1.0), task(), PATIENCE).reason == ""


def test_a_pod_that_a_rule_keeps_refusing_fails_its_job():
    denied = ClusterRefused(403, "Forbidden", 'admission webhook "w" denied the request: no')
    long_ago = {"reason": "admission", "reason_seconds": 901.0}
    assert of_refusal(denied, task(), PATIENCE).fate == "waits"
    assert of_refusal(denied, task(**long_ago, tries=11), PATIENCE).fate == "failed"
    assert of_refusal(denied, task(**long_ago, tries=3), PATIENCE).fate == "waits"  # nobody was there to try


PATIENCE = PodTimeouts(image_pull=30, pending=900)


def task(**values):
    usual = {
        "name": "p", "decision": 1, "key": (1, 0), "capabilities": frozenset(), "offered": (),
        "resources": ResourceAmounts(), "overrides": {}, "state": "wanted", "uid": None, "reason": None,
    }  # fmt: skip
    return PodAction(**{**usual, **values})


def row(**values):
    usual = {
        "name": "ado-task-1-0-d1", "key": (1, 0), "capabilities": frozenset(), "state": "placed", "uid": "u",
        "reason": None, "reason_seconds": 0.0, "age_seconds": 5.0, "claimed": False, "worker_state": "starting",
        "idle_seconds": 0.0, "job_status": "queued", "holds": False,
    }  # fmt: skip
    return PodRow(**{**usual, **values})


@pytest.mark.parametrize("reason", ["Evicted", "Preempting", "Shutdown", "Terminated"])
def test_a_pod_ended_by_its_node_does_not_count_as_a_failure_of_its_job(reason):
    status = {"phase": "Failed", "reason": reason, "message": "the node said so"}
    diagnosis = of_pod({"status": status})
    assert (diagnosis.fate, diagnosis.reason, diagnosis.message) == ("lost", "evicted", "the node said so")
    assert of_pod({"status": {**status, "reason": "Other"}}).reason == "pod_failed"


def test_a_job_waits_for_its_image_for_a_limited_time():
    pod = recorded("image-pull")[-1]
    assert judge(row(), pod, PATIENCE).fate == "waits"
    assert judge(row(reason="image_pull", reason_seconds=29), pod, PATIENCE).fate == "waits"
    assert judge(row(reason="image_pull", reason_seconds=31), pod, PATIENCE).fate == "failed"
    assert judge(row(reason="unschedulable", reason_seconds=31), pod, PATIENCE).fate == "waits"


def test_a_job_waits_longer_for_a_node():
    pod = recorded("unschedulable")[-1]
    assert judge(row(reason="unschedulable", reason_seconds=31), pod, PATIENCE).fate == "waits"
    assert judge(row(reason="unschedulable", reason_seconds=901), pod, PATIENCE).fate == "failed"


def full_node():
    pod = recorded("unschedulable")[-1]
    for condition in pod["status"]["conditions"]:
        condition["message"] = (
            "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims "
            "found for incoming pod."
        )
    return pod


def test_a_job_waits_for_room_without_a_limit_and_without_an_event():
    found = judge(row(reason="no_room", reason_seconds=10**6, age_seconds=10**6), full_node(), PATIENCE)
    assert (found.fate, found.reason) == ("waits", "no_room")
    assert found.message.startswith("0/1 nodes are available: 1 Insufficient cpu.")
    assert not found.is_due(row(reason="no_room", reason_seconds=10**6))


def test_time_without_a_connection_to_the_cluster_does_not_count():
    running = next(pod for pod in recorded("ok") if pod["status"]["phase"] == "Running")
    assert judge(row(age_seconds=5000), running, PATIENCE, 899) is FINE
    assert judge(row(age_seconds=5000), running, PATIENCE, 901).reason == "pod_silent"
    stuck = row(reason="unschedulable", reason_seconds=5000)
    assert judge(stuck, recorded("unschedulable")[-1], PATIENCE, 0).fate == "waits"


def test_lasting_problems_are_logged_and_fatal_ones_immediately():
    pull = judge(row(), recorded("image-pull")[-1], PATIENCE)
    assert not pull.is_due(row())
    assert not pull.is_due(row(reason="image_pull", reason_seconds=1))
    assert pull.is_due(row(reason="image_pull", reason_seconds=4))
    assert not pull.is_due(row(reason="image_pull", reason_seconds=4, logged_reason="image_pull"))
    assert pull.problem.once
    lost = judge(row(claimed=True, worker_state="busy"), lost_node(), PATIENCE)
    assert lost.is_due(row())
    assert not lost.problem.once


def test_a_lost_worker_on_a_silent_node_names_the_node():
    pod = next(pod for pod in recorded("ok") if pod["status"]["phase"] == "Running")
    silent = row(claimed=True, worker_state="dead", job_status="queued")
    found = judge(silent, pod, PATIENCE)
    assert (found.fate, found.reason, found.node) == ("lost", "node_lost", pod["spec"]["nodeName"])
    assert found.node in found.message
    assert judge(silent, pod, PATIENCE, seen=1).fate == "waits"  # the monitor extends leases first
    held = row(claimed=True, worker_state="dead", job_status="running", holds=True)
    assert judge(held, pod, PATIENCE).fate == "waits"  # its lease decides


def test_the_pull_limit_of_the_kubelet_is_not_a_failure():
    pod = recorded("image-pull")[-1]
    pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"] = "pull QPS exceeded"
    assert of_pod(pod) is FINE


def test_a_pod_whose_worker_never_registers_fails_its_job():
    running = next(pod for pod in recorded("ok") if pod["status"]["phase"] == "Running")
    assert judge(row(age_seconds=899), running, PATIENCE) is FINE
    assert judge(row(age_seconds=901), running, PATIENCE).reason == "pod_silent"
    assert judge(row(age_seconds=901, worker_state="busy"), running, PATIENCE) is FINE
    assert judge(row(age_seconds=901, reason="no_room"), running, PATIENCE) is FINE


def test_a_pod_that_ran_its_job_may_end_with_any_status():
    done = row(claimed=True, holds=True, job_status="succeeded")
    assert judge(done, recorded("exit3")[-1], PATIENCE) == PodDiagnosis("completed")
    assert judge(done, recorded("evicted")[-1], PATIENCE).fate == "completed"
    assert of_absence(done).fate == "completed"
    assert of_absence(row(claimed=True, holds=True, job_status="running")).reason == "pod_deleted"
    assert of_absence(row(claimed=True, reason="evicted")).reason == "evicted"


def test_a_pod_that_succeeds_without_its_job_is_a_failure():
    assert judge(row(), recorded("ok")[-1], PATIENCE).reason == "pod_failed"
    assert judge(row(key=None), recorded("ok")[-1], PATIENCE) == PodDiagnosis("completed")


def lost_node():
    pod = next(pod for pod in recorded("ok") if pod["status"]["phase"] == "Running")
    pod["status"]["conditions"].append(
        {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "deleting"}
    )
    return pod


def test_the_pod_of_a_lost_node_waits_for_its_lease_if_it_ever_had_one():
    assert judge(row(claimed=True, worker_state="busy"), lost_node(), PATIENCE).fate == "waits"
    assert judge(row(), lost_node(), PATIENCE).fate == "lost"


def test_an_eviction_is_not_a_failure_of_the_job():
    pod = next(pod for pod in recorded("evicted") if of_pod(pod).reason)
    assert judge(row(claimed=True, reason="evicted", reason_seconds=9999), pod, PATIENCE).fate == "waits"


def test_every_reason_of_a_pod_is_a_jobs_reason_with_a_next_step_and_an_exit_code():
    for reason, (meaning, hint) in POD_REASONS.items():
        assert JOB_REASONS[reason] == meaning
        assert hint
    assert POD_REASONS.keys() - INFRASTRUCTURE_REASONS == {"oom_killed", "deadline"}
