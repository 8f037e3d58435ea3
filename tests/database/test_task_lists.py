"""Which tasks a page of ``tasks.list`` has, in what order, and what it reads for that."""

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from support.records import claim, closed, create, finish, register

from db import queries, tasks
from db.actor import Actor
from db.tasks import TaskFilter


async def listed(db, limit=100, before=None, **wanted):
    found, _ = await tasks.page(db, TaskFilter(**wanted), limit=limit, bytes_=10**7, before=before)
    return [task.task_id for task in found]


async def walked(db, limit, **wanted):
    """Return the ids on every page."""
    pages, before = [], None
    while True:
        found, before = await tasks.page(db, TaskFilter(**wanted), limit=limit, bytes_=10**7, before=before)
        pages.append([task.task_id for task in found])
        if before is None:
            return pages


async def test_several_statuses_are_listed_in_one_order(db):
    made = [await create(db) for _ in range(4)]
    await register(db)
    await claim(db, limit=2)
    await closed(db, finish(made[0]))
    await tasks.settle(db, made[0])
    assert await listed(db, statuses=["queued"]) == [made[3], made[2]]
    assert await listed(db, statuses=["running", "succeeded", "failed"]) == [made[1], made[0]]
    assert await walked(db, 1, statuses=["queued", "succeeded"]) == [[made[3]], [made[2]], [made[0]]]
    assert await listed(db) == made[::-1]


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        ({"labels": {"team": "web"}}, [0, 1]),
        ({"label_names": ["team"]}, [0, 1, 2]),
        ({"label_names": ["team", "x'); drop table ado.tasks; --"]}, [1]),
        ({"label_names": ["web"]}, []),
        ({"label_names": ["team"], "labels": {"team": ""}}, [2]),
    ],
)
async def test_a_label_filter_takes_a_name_or_a_name_with_a_value(db, wanted, places):
    labels = ({"team": "web"}, {"team": "web", "x'); drop table ado.tasks; --": "1"}, {"team": ""}, {})
    made = [await create(db, labels=entry) for entry in labels]
    assert await listed(db, **wanted) == [made[place] for place in reversed(places)]


@pytest.mark.parametrize(
    ("search", "places"),
    [("%", [0]), ("_", [1]), ("\\", [2]), ("NEEDLE", [3]), ("straße", [4]), ("100% SAFE", [0]), ("nothing", [])],
)
async def test_a_search_ignores_case_takes_no_wildcards_and_reads_whole_prompts(db, search, places):
    prompts = ("100% safe", "snake_case", "back\\slash", "x" * 500_000 + "Needle", "die Straße")
    made = [await create(db, prompt=prompt) for prompt in prompts]
    assert await listed(db, search=search) == [made[place] for place in places]


@pytest.mark.parametrize(("name", "bound"), [("_SEARCHED_TASKS", 3), ("_SEARCHED_BYTES", 30)])
async def test_a_page_of_a_search_looks_at_a_bounded_number_of_prompts(db, monkeypatch, name, bound):
    monkeypatch.setattr(tasks, name, bound)
    made = [await create(db, prompt=f"number {number % 8:02}") for number in range(10)]
    assert await walked(db, 5, search="number 01") == [[made[9]], [], [made[1]], []]
    assert await walked(db, 5, search="number 08") == [[], [], [], []]


async def test_a_search_continues_on_the_next_page(db):
    made = [await create(db, prompt=f"number {number}") for number in range(5)]
    assert await walked(db, 2, search="number") == [made[:2:-1], made[2:0:-1], made[:1]]


async def test_until_leaves_out_newer_tasks_after_a_clock_was_set_back(db, dsn):
    made = [await create(db) for _ in range(4)]
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for task_id, minutes in zip(made, (0, 10, 5, 20), strict=True):
            moment = noon + timedelta(minutes=minutes)
            connection.execute("update ado.tasks set created_at = %s where task_id = %s", [moment, task_id])
    for minutes, places in ((0, []), (1, [0]), (5, [0]), (6, [2, 0]), (11, [2, 1, 0]), (60, [3, 2, 1, 0])):
        assert await listed(db, until=noon + timedelta(minutes=minutes)) == [made[place] for place in places], minutes
    between = {"since": noon + timedelta(minutes=5), "until": noon + timedelta(minutes=20)}
    assert await listed(db, **between) == [made[2], made[1]]
    assert await walked(db, 1, **between) == [[made[2]], [made[1]]]


async def test_tasks_are_listed_by_agent(db):
    made = [await create(db, agent=agent) for agent in ("codex", "shell", "claude-code")]
    assert await listed(db, agents=["codex", "claude-code"]) == [made[2], made[0]]
    assert await listed(db, agents=["x'; --"]) == []


async def test_a_page_of_tasks_with_several_agents_has_each_once(db):
    several = [await create(db, agent="codex", agents=("codex", "shell"), workers=2) for _ in range(3)]
    one = await create(db, agent="shell")
    assert await walked(db, 2, agents=["shell", "codex"]) == [[one, several[2]], several[1::-1]]
    assert await walked(db, 2, agents=["shell", "codex"], statuses=["queued"]) == [[one, several[2]], several[1::-1]]


async def test_tasks_of_a_creator_are_listed_by_the_other_filters_too(db, dsn):
    made = [await create(db, agent=agent) for agent in ("codex", "shell", "codex", "codex")]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("update ado.tasks set created_by = 'user-1' where task_id < %s", [made[3]])
        connection.execute("update ado.tasks set created_by = 'user-2' where task_id = %s", [made[3]])
    await tasks.cancel(db, made[0], None)
    assert await walked(db, 2, creators=["user-1"]) == [[made[2], made[1]], [made[0]]]
    assert await listed(db, creators=["user-1"], agents=["codex"]) == [made[2], made[0]]
    assert await listed(db, creators=["user-1"], agents=["codex"], statuses=["cancelled"]) == [made[0]]
    assert await listed(db, creators=["user-2", "user-1"], statuses=["queued"]) == [made[3], made[2], made[1]]
    assert await listed(db, creators=[]) == []


async def test_a_search_finds_names_and_values_of_labels(db):
    made = [await create(db, labels=labels) for labels in ({"Team": 'we"b'}, {"x": "team"}, {}, {"a": "b"})]
    assert await listed(db, search="TEAM") == [made[1], made[0]]
    assert await listed(db, search='team=WE"b') == [made[0]]
    assert await listed(db, search='": "') == []


async def test_a_cursor_stays_valid_when_its_task_is_removed(db):
    made = [await create(db) for _ in range(5)]
    first, before = await tasks.page(db, TaskFilter(), limit=2, bytes_=10**7, before=None)
    assert before == made[3] == first[-1].task_id
    for task_id in (made[3], made[2]):
        await tasks.cancel(db, task_id, None)
        assert await tasks.remove(db, task_id) == "cancelled"
    rest, _ = await tasks.page(db, TaskFilter(), limit=2, bytes_=10**7, before=before)
    assert [task.task_id for task in rest] == [made[1], made[0]]


async def test_since_leaves_out_older_tasks_after_a_clock_was_set_back(db, dsn):
    made = [await create(db) for _ in range(5)]
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    with psycopg.connect(dsn) as connection:
        # the clock is set back between the second and the third
        for task_id, minutes in zip(made, (0, 20, 10, 30, 40), strict=True):
            at = noon + timedelta(minutes=minutes)
            connection.execute("update ado.tasks set created_at = %s where task_id = %s", [at, task_id])
    for minutes, places in ((0, [4, 3, 2, 1, 0]), (15, [4, 3, 1]), (10, [4, 3, 2, 1]), (40, [4]), (41, [])):
        assert await listed(db, since=noon + timedelta(minutes=minutes)) == [made[place] for place in places], minutes


async def test_pages_have_each_task_once_while_others_are_created(db):
    made = [await create(db) for _ in range(6)]
    seen, before = [], None
    while before is not None or not seen:
        found, before = await tasks.page(db, limit=2, bytes_=10**7, before=before)
        seen += [task.task_id for task in found]
        await create(db)
    assert seen == made[::-1]


async def test_filters_combine_with_and(db):
    anna = Actor(user_id="user-1", token_id=None, name="anna", address=None, request_id=None, procedure="tasks.create")
    wanted = await create(db, prompt="fix it", labels={"team": "web"}, actor=anna)
    await create(db, prompt="fix it", labels={"team": "web"})
    await create(db, prompt="other", labels={"team": "web"}, actor=anna)
    await create(db, prompt="fix it", actor=anna)
    everything = {"label_names": ["team"], "search": "FIX", "creators": ["user-1"], "statuses": ["queued"]}
    assert await listed(db, **everything) == [wanted]


FILL = """
insert into ado.tasks (prompt, agent, workers, status, finished_at, labels, created_at, created_by)
select repeat('prompt ', 40), 'shell', 1, case when n = 50 then 'failed' else 'succeeded' end, now(),
       case when n = 60 then '{"rare": "x"}'::jsonb when n % 2 = 0 then '{"team": "web"}' else '{}' end,
       now() - make_interval(mins => 20000 - n), case when n = 70 then 'user-2' else 'user-1' end
from generate_series(1, 20000) n;
insert into ado.task_logs (task_id, last_seq) select task_id, 0 from ado.tasks;
"""


def pages_read(connection, **wanted):
    """Return how many pages of memory or disk the statement looks at; the table alone has over a thousand."""
    values = {
        "before": None, "since": None, "until": None, "agents": None, "statuses": list(tasks.STATUSES),
        "labels": "{}", "label_names": [],
        "creators": None, "search": None, "scan_limit": 20, "scan_bytes": 10**6, "row_limit": 20,
        "byte_limit": 10**6, "prompt_chars": 1000,
    }  # fmt: skip
    statement = f"explain (analyze, buffers, format json) {queries.load()['list_tasks'].named}"
    ((plan,),) = connection.execute(statement.encode(), values | wanted).fetchall()
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]


def test_every_filter_reads_by_an_index(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(FILL)
        connection.execute("vacuum analyze ado.tasks, ado.task_logs")
        (size,) = connection.execute("select pg_relation_size('ado.tasks') / 8192").fetchone()
        assert size > 1000
        for wanted in (
            {},
            {"statuses": ["failed"]},
            {"statuses": ["failed", "cancelled"]},
            {"labels": '{"team": "web"}'},
            {"labels": '{"rare": "x"}'},
            {"label_names": ["rare"]},
            {"label_names": ["none"]},
            {"creators": ["user-2"]},
            {"since": datetime.now(UTC) - timedelta(minutes=10)},
            {"since": datetime.now(UTC) - timedelta(minutes=10), "statuses": ["failed"]},
            {"before": 10000},
        ):
            assert pages_read(connection, **wanted) < size / 2, wanted
