"""Pods end to end, and what goes wrong with them. Runs unchanged against a real cluster: see the README beside."""

import re


def test_five_pods_run_five_jobs_and_leave_nothing(bench):
    bench.add_spawner()
    bench.add_spawner()
    done = bench.run("--workers", "5", 'echo "job $ADO_JOB_INDEX on $ADO_WORKER_ID"', check=0)
    lines = sorted(done.stdout.decode().splitlines())
    found = [re.fullmatch(r"\[(\d)\] job (\d) on ado-task-1-(\d)-d\d+", line) for line in lines]
    assert [match.groups() for match in found] == [(str(job),) * 3 for job in range(5)]
    bench.until_clean()
    assert bench.decisions() == 5
