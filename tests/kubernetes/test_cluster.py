"""Pods end to end, and what goes wrong with them. Runs unchanged against a real cluster: see the README beside."""

import json
import re

import yaml
from kubernetes import client
from support.kube.bench import pod_events
from support.program import until

ONCE = "echo attempt $ADO_ATTEMPT; [ $ADO_ATTEMPT = 2 ] || sleep 300"


def template(home, **layers):
    file = home / "template.yaml"
    file.write_text(yaml.safe_dump(layers))
    return {"ADO_POD_TEMPLATE": str(file)}


def kinds(bench, task):
    return [event["type"] for event in bench.ado.events(task)]


def kinds_so_far(bench):
    return [kind for (kind,) in bench.ado.sql("select type from ado.events order by seq")]


def failed(bench, task):
    """Wait for a task's end and return its only job and the events of its pod."""
    bench.ado.ado("wait", task)
    job = bench.ado.task(task)["jobs"][0]
    assert job["status"] == "failed"
    return job, bench.told(task)


def running_pod(bench):
    """Wait until a job runs and return the name of its pod."""
    query = "select worker_id from ado.jobs where status = 'running'"
    return until(lambda: bench.ado.sql(query), "a job to run", 60)[0][0]


def test_five_pods_run_five_jobs_and_leave_nothing(bench):
    bench.add_spawner()
    bench.add_spawner()
    done = bench.run("--workers", "5", 'echo "job $ADO_JOB_INDEX on $ADO_WORKER_ID"', check=0)
    lines = sorted(done.stdout.decode().splitlines())
    found = [re.fullmatch(r"\[(\d)\] job (\d) on ado-task-1-(\d)-d\d+", line) for line in lines]
    assert [match.groups() for match in found] == [(str(job),) * 3 for job in range(5)]
    bench.until_clean()
    assert bench.decisions() == 5


def test_a_job_in_a_pod_has_its_exit_code_output_and_environment(bench):
    bench.add_spawner()
    done = bench.run("--env", "COLOUR=blue", 'echo "$COLOUR $ADO_MEMORY"; echo err >&2; exit 7', check=7)
    assert done.stdout == b"blue \n"
    assert b"err\n" in done.stderr
    assert bench.told("task-1") == []
    bench.until_clean()


def test_a_pod_has_the_size_that_the_task_asks_for_and_meets_restricted(bench):
    bench.add_spawner()
    bench.begin("--cpu", "0.2", "--memory", "300Mi", "sleep 300")
    name = running_pod(bench)
    pod = json.loads(bench.core.read_namespaced_pod(name, bench.namespace, _preload_content=False).data)
    worker = pod["spec"]["containers"][0]
    assert worker["resources"]["requests"] == worker["resources"]["limits"]
    assert worker["resources"]["limits"]["cpu"] == "200m"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["enableServiceLinks"] is False
    assert worker["securityContext"]["readOnlyRootFilesystem"] is True
    secret = json.loads(bench.core.read_namespaced_secret(name, bench.namespace, _preload_content=False).data)
    assert secret["metadata"]["ownerReferences"][0]["uid"] == pod["metadata"]["uid"]
    bench.ado.ado("cancel", "task-1", check=0)
    bench.until_clean()


def test_an_image_that_cannot_be_pulled_fails_the_job_with_a_reason(bench):
    bench.add_spawner()
    done = bench.run("--image", "registry.invalid/none:1", "true", check=125)
    assert b"image_pull" in done.stderr
    job, told = failed(bench, "task-1")
    assert job["reason"] == "image_pull"
    assert [event["reason"] for event in told] == ["image_pull"]
    assert "registry.invalid/none:1" in told[0]["message"]
    assert told[0]["hint"]
    assert kinds(bench, "task-1") == ["created", "pod", "finished", "failed"]
    bench.until_clean()


def test_an_image_with_an_invalid_name_fails_the_job_without_delay(bench):
    bench.add_spawner(ADO_IMAGE_PULL_SECONDS="600")
    bench.run("--image", "INVALID//:x", "true", check=125)
    job, told = failed(bench, "task-1")
    assert (job["reason"], told[0]["reason"]) == ("invalid_image", "invalid_image")
    bench.until_clean()


def test_a_pod_that_fits_no_node_waits_with_a_reason_and_ends_with_its_task(bench):
    bench.add_spawner()
    bench.begin("--node-selector", "ado-test/nowhere=true", "true")
    told = until(lambda: [event[0] for event in pod_events(bench)], "the log to tell")
    assert told[0]["reason"] == "unschedulable"
    bench.ado.ado("cancel", "task-1", check=0)
    bench.until_clean()
    assert kinds(bench, "task-1") == ["created", "pod", "cancel_requested", "finished", "cancelled"]


def test_a_pod_that_stays_pending_for_too_long_fails_its_job(bench):
    bench.add_spawner(ADO_PENDING_SECONDS="1")
    bench.run("--node-selector", "ado-test/nowhere=true", "true", check=125)
    job, told = failed(bench, "task-1")
    assert (job["reason"], len(told)) == ("unschedulable", 1)
    bench.until_clean()


def test_a_job_over_its_memory_fails_with_the_reason(bench):
    bench.add_spawner()
    bench.run("--memory", "200Mi", "python3 -c \"import time; x = b'x' * (600 << 20); time.sleep(60)\"", check=137)
    job, told = failed(bench, "task-1")
    assert (job["reason"], job["exitCode"]) == ("oom_killed", 137)
    assert [event["reason"] for event in told] == ["oom_killed"]
    assert "--memory" in told[0]["hint"]
    bench.until_clean()


def test_a_deadline_of_the_template_fails_the_job(bench, home):
    bench.add_spawner(**template(home, base={"spec": {"activeDeadlineSeconds": 8}}))
    bench.run("sleep 300", check=124)
    job, told = failed(bench, "task-1")
    assert (job["reason"], [event["reason"] for event in told]) == ("deadline", ["deadline"])
    bench.until_clean()


def test_a_missing_command_fails_the_job_without_delay(bench, home):
    worker = {"name": "worker", "command": ["/bin/nonexistent"]}
    bench.add_spawner(**template(home, base={"spec": {"containers": [worker]}}))
    bench.run("true", check=125)
    job, told = failed(bench, "task-1")
    assert (job["reason"], told[0]["reason"]) == ("start_error", "start_error")
    assert "/bin/nonexistent" in told[0]["message"]
    bench.until_clean()


def test_a_container_that_ends_without_its_job_is_retried_with_a_limit(bench, home):
    worker = {"name": "worker", "command": ["/bin/sh", "-c", "echo nothing works here; exit 3"]}
    bench.add_spawner(**template(home, base={"spec": {"containers": [worker]}}))
    bench.run("true", check=125)
    job, told = failed(bench, "task-1")
    assert job["reason"] == "pod_failed"
    assert [event["reason"] for event in told] == ["pod_failed"] * 3
    assert len({event["pod"] for event in told}) == 3
    assert "exit code 3: nothing works here" in told[0]["message"]
    bench.until_clean()


def test_a_pod_that_is_not_restricted_is_refused_and_fails_its_job(bench, home):
    worker = {"name": "worker", "securityContext": {"privileged": True, "allowPrivilegeEscalation": None}}
    bench.add_spawner(**template(home, capabilities={"shell": {"spec": {"containers": [worker]}}}))
    bench.run("true", check=125)
    job, told = failed(bench, "task-1")
    assert (job["reason"], told[0]["reason"]) == ("pod_security", "pod_security")
    assert "violates PodSecurity" in told[0]["message"]
    bench.until_clean()


def test_the_end_of_a_pod_requeues_its_job_before_the_lease_ends(slow_lease):
    bench = slow_lease
    bench.add_spawner()
    watching = bench.ado.open("run", "--remote", "--agent", "shell", ONCE)
    first = running_pod(bench)
    until(lambda: "output" in kinds_so_far(bench), "its first output")
    bench.delete(first, grace_period_seconds=0)
    out, _ = watching.communicate(timeout=60)
    assert (watching.returncode, out) == (0, b"attempt 1\nattempt 2\n")
    told = bench.told("task-1")
    assert [(event["reason"], event["pod"]) for event in told] == [("pod_deleted", first)]
    requeued = [event for event in bench.ado.events("task-1") if event["type"] == "requeued"]
    assert [event["reason"] for event in requeued] == ["pod_deleted"]
    bench.until_clean()


def test_a_pod_that_is_asked_to_end_releases_its_job(slow_lease):
    bench = slow_lease
    bench.add_spawner()
    watching = bench.ado.open("run", "--remote", "--agent", "shell", ONCE)
    name = running_pod(bench)
    until(lambda: "output" in kinds_so_far(bench), "its first output")
    bench.delete(name)
    out, _ = watching.communicate(timeout=60)
    assert (watching.returncode, out) == (0, b"attempt 1\nattempt 2\n")
    assert "released" in kinds(bench, "task-1")
    assert bench.ado.sql("select losses from ado.jobs") == [(0,)]
    bench.until_clean()


def test_an_evicted_pod_releases_its_job_with_the_reason(slow_lease):
    bench = slow_lease
    bench.add_spawner()
    watching = bench.ado.open("run", "--remote", "--agent", "shell", ONCE)
    name = running_pod(bench)
    until(lambda: "output" in kinds_so_far(bench), "its first output")
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=name, namespace=bench.namespace))
    bench.core.create_namespaced_pod_eviction(name, bench.namespace, eviction, _preload_content=False).read()
    out, _ = watching.communicate(timeout=60)
    assert (watching.returncode, out) == (0, b"attempt 1\nattempt 2\n")
    assert [event["reason"] for event in bench.told("task-1")] == ["evicted"]
    bench.until_clean()


def test_a_cancelled_task_ends_its_pods(bench):
    bench.add_spawner()
    bench.begin("--workers", "2", "sleep 300")
    until(lambda: len(bench.ado.sql("select 1 from ado.jobs where status = 'running'")) == 2, "both to run", 60)
    bench.ado.ado("cancel", "task-1", check=0)
    bench.until_clean()
    assert {job["status"] for job in bench.ado.task("task-1")["jobs"]} == {"cancelled"}


def test_warm_pods_take_one_job_each_and_are_replaced(slow_lease):
    """A worker whose heartbeat is late is not idle, and then its job rightly gets a pod of its own."""
    bench = slow_lease
    bench.add_spawner(ADO_IDLE_SECONDS="600")
    bench.ado.ado("workers", "scale", "2", check=0)
    idle = "select worker_id from ado.worker_status where state = 'idle'"
    until(lambda: len(bench.ado.sql(idle)) == 2, "two warm pods", 60)
    warm = {name for (name,) in bench.ado.sql(idle)}
    done = bench.run("--workers", "2", "echo $ADO_WORKER_ID", check=0)
    assert {line.split()[-1] for line in done.stdout.decode().splitlines()} == warm
    until(lambda: {name for (name,) in bench.ado.sql(idle)} - warm, "others in their place", 60)
    bench.ado.ado("workers", "scale", "0", check=0)
    bench.until_clean()
    assert bench.ado.sql("select count(*) from ado.pods where not starts_with(name, 'ado-warm-')") == [(0,)]


def test_pods_come_and_go_within_a_range(slow_lease):
    bench = slow_lease
    bench.ado.ado("workers", "autoscale", "shell", "--min", "1", "--max", "2", "--target-queue", "0", check=0)
    for _ in range(2):
        bench.add_spawner()
    numbers = "select workers, ready from ado.autoscale_status"
    until(lambda: bench.ado.sql(numbers) == [(1, 1)], "a warm pod", 60)
    bench.begin("--workers", "3", "true")

    def ended():
        assert bench.ado.sql(numbers)[0][0] <= 2
        return bench.ado.sql("select 1 from ado.tasks where finished_at is not null")

    until(ended, "all jobs to end", 60)
    until(lambda: bench.ado.sql(numbers) == [(1, 1)], "a warm pod again", 60)
    assert bench.ado.sql("select max(attempt), sum(losses) from ado.jobs") == [(1, 0)]
    bench.ado.ado("workers", "autoscale", "shell", "--remove", check=0)
    bench.until_clean()


def test_a_pods_token_claims_its_own_job_and_no_other(bench):
    """The other job waits in front of it: a worker that may choose would take that one."""
    bench.add_spawner(ADO_MAX_WORKERS="1")
    bench.begin("--require", "elsewhere", "--priority", "5", "true")
    done = bench.run("echo $ADO_TASK_ID", check=0)
    assert done.stdout == b"task-2\n"
    bench.until_clean()


def test_a_paused_task_has_no_pod_and_a_resumed_one_gets_a_new_one_whatever_the_spawners_do(slow_lease):
    bench = slow_lease
    spawner = bench.add_spawner()
    task = bench.begin("--workers", "2", ONCE)
    until(lambda: len(bench.ado.sql("select 1 from ado.jobs where status = 'running'")) == 2, "both to run", 60)
    first = set(bench.pods())
    bench.ado.ado("pause", task, check=0)
    spawner.kill()  # the pods end by themselves, and the next spawner settles their rows
    spawner.wait()
    until(lambda: bench.ado.task(task)["status"] == "paused", "the pause", 60)
    spawner = bench.add_spawner()
    bench.until_clean()
    bench.begin("true")  # a pod comes and goes, so the spawner has looked at the queue
    bench.ado.ado("wait", "task-2", check=0)
    bench.until_clean()
    assert (
        bench.ado.sql("select status, attempt, losses, interruptions from ado.jobs where task_id = 1")
        == [("paused", 1, 0, 0)] * 2
    )
    assert bench.decisions() == 3
    spawner.kill()
    spawner.wait()
    bench.ado.ado("resume", task, check=0)
    bench.add_spawner()
    bench.ado.ado("wait", task, check=0)
    assert {job["status"] for job in bench.ado.task(task)["jobs"]} == {"succeeded"}
    assert not first & {name for (name,) in bench.ado.sql("select worker_id from ado.jobs where task_id = 1")}
    assert bench.decisions() == 5
    bench.until_clean()
