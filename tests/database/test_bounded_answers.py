"""Answers about tasks have a bound, whatever was stored."""

from dataclasses import replace

import pytest
from support.records import claim, closed, create, finish, register

from db import tasks

MIB = 1024 * 1024


@pytest.fixture
async def with_results(db):
    """A task of four jobs with results of 3, 1, 2 and 1 thousand bytes, and its id."""
    task_id = await create(db, workers=4, prompt="é" * 5000, agent_args={"model": "m"})
    await register(db)
    await claim(db)
    for job, size in enumerate((3000, 1000, 2000, 1000)):
        report = finish(task_id, job=job, usage={"costUsd": 1})
        await closed(db, replace(report, result='"' + "r" * (size - 2) + '"', message="m" * 1000))
    return task_id


async def test_the_largest_results_are_left_out_first_beyond_the_limit(db, with_results):
    task = await tasks.get(db, with_results, result_limit=4100)
    assert [len(job.result or "") for job in task.jobs] == [0, 998, 1998, 998]
    assert [job.left_out_bytes is not None for job in task.jobs] == [True, False, False, False]
    assert 3000 <= task.jobs[0].left_out_bytes <= 3010
    assert all(job.usage == {"costUsd": 1} and len(job.message) == 1000 for job in task.jobs)


async def test_the_result_of_a_single_job_has_no_limit(db, with_results):
    task = await tasks.get(db, with_results, job=0, result_limit=4100)
    assert [len(job.result or "") for job in task.jobs] == [2998, 0, 0, 0]
    assert [job.left_out_bytes is not None for job in task.jobs] == [False, True, True, True]


async def test_a_list_has_the_beginnings_of_prompts_and_messages_and_no_results(db, with_results):
    [task], _ = await tasks.page(db, limit=5, bytes_=MIB, before=None)
    assert (task.prompt, task.prompt_cut, task.agent_args) == ("é" * 1000, True, None)
    assert [(job.result, len(job.message)) for job in task.jobs] == [(None, 200)] * 4
    short = await create(db, prompt="true")
    [task, _], _ = await tasks.page(db, limit=5, bytes_=MIB, before=None)
    assert (task.task_id, task.prompt, task.prompt_cut) == (short, "true", False)


async def test_a_compressible_result_counts_with_its_full_size(db):
    task_id = await create(db)
    await register(db)
    await claim(db)
    await closed(db, replace(finish(task_id), result='"' + "0" * MIB + '"'))
    [job] = (await tasks.get(db, task_id, result_limit=MIB // 2)).jobs
    assert job.result is None
    assert job.left_out_bytes > MIB
