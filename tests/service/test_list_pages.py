"""Lists of users, tokens, workers and files come in pages that have each item once."""

import contextlib

import pytest
from support.program import PATIENT, Cluster

from app.client import Ado
from app.rpc.client import CallError, HttpClient


@pytest.fixture
def cluster(dsn, home):
    """Two replicas to which a worker that sends no heartbeats stays idle for the length of a test."""
    made = Cluster(dsn, home, env=PATIENT)
    try:
        yield made.add_replicas(2)
    finally:
        made.close()


@pytest.fixture
def calls(cluster):
    with_token = HttpClient(cluster.urls, cluster.token)
    yield with_token
    with_token.close()


def walked(calls, path, key, **wish):
    """Return the names of the items page by page, three a page."""
    pages, cursor = [], None
    while True:
        page = calls.query(path, {**wish, "limit": 3, "cursor": cursor})
        pages.append([item[key] for item in page["items"]])
        cursor = page.get("nextCursor")
        if cursor is None:
            return pages


def is_divided(calls, path, key, **wish):
    """Return the names of a whole list, whose pages must be this list divided."""
    whole = [item[key] for item in calls.query(path, wish)["items"]]
    assert walked(calls, path, key, **wish) == [whole[start : start + 3] for start in range(0, len(whole), 3)]
    return whole


def test_users(cluster, calls):
    for number in range(7):
        calls.mutate("users.add", {"name": f"user{number}"})
    assert len(is_divided(calls, "users.list", "userId")) == 7
    assert cluster.ado("users", "list", "-o", "name", check=0).stdout.split()[-1] == b"user-7"


def test_tokens_of_one_moment_are_listed_once(cluster, calls):
    for _ in range(6):
        calls.mutate("tokens.create", {"role": "viewer", "name": "many"})
    cluster.sql("update ado.tokens set created_at = '2030-01-01' where name = 'many' returning 1")
    assert len(is_divided(calls, "tokens.list", "tokenId")) >= 7


def test_workers_are_listed_by_pages(cluster, calls):
    for name in ("zeta", "a/b", "ä", "B", "a", "%"):
        calls.mutate("workers.register", {"workerId": name, "capabilities": ["shell"]})
    assert len(is_divided(calls, "workers.list", "workerId")) == 6
    assert len(is_divided(calls, "workers.list", "workerId", state="idle")) == 6
    assert len(cluster.ado("workers", "list", "-o", "name", check=0).stdout.split()) == 6


def test_the_status_lists_each_live_worker_once_and_counts_all(cluster, calls):
    names = ["a", "a/b", "b", "c", "d", "e", "f"]
    for name in names:
        calls.mutate("workers.register", {"workerId": name, "capabilities": ["shell"]})
    session = calls.mutate("workers.register", {"workerId": "b", "capabilities": ["shell"]})["session"]
    calls.mutate("workers.heartbeat", {"workerId": "b", "session": session, "stopped": True})
    names.remove("b")
    pages, cursor = [], None
    while True:
        page = calls.query("workers.status", {"limit": 2, "cursor": cursor})
        pages.append([worker["workerId"] for worker in page["workers"]])
        assert (page["counts"]["stopped"], page["queue"]["queued"]) == (1, 0)
        if (cursor := page.get("nextCursor")) is None:
            break
    assert pages == [names[:2], names[2:4], names[4:]]
    assert [worker["workerId"] for worker in calls.query("workers.status")["workers"]] == names


@pytest.fixture
def too_many(cluster):
    """More workers than a page has room for, the last of which offers an agent alone."""
    cluster.sql(
        """
        insert into ado.workers (worker_id, instance, session, capabilities, last_heartbeat_at, started_at)
        select 'w' || lpad(n::text, 4, '0'), 'i', 's' || n, array[case when n = 1200 then 'rare' else 'shell' end],
               now() + interval '1 hour', now()
        from generate_series(1, 1200) n returning 1
        """
    )


def test_the_command_line_and_the_client_read_every_page(cluster, calls, too_many):
    assert len(calls.query("workers.status")["workers"]) == 1000
    assert len(cluster.ado("workers", "status", "-o", "name", check=0).stdout.split()) == 1200
    with Ado(cluster.urls, cluster.token) as client:
        found = client.workers_status()
    assert (len({worker.worker_id for worker in found.workers}), found.next_cursor) == (1200, None)
    task = calls.mutate("tasks.create", {"prompt": "true", "agent": "rare"})["taskId"]
    said = cluster.ado("explain", task, check=0).stdout.decode()
    assert "no live worker offers" not in said


def test_a_page_of_users_ends_before_it_is_too_large_for_an_answer(cluster, calls):
    cluster.sql(
        """
        insert into ado.users (name, role, email)
        select 'user' || n, 'viewer', repeat('é', 320 * 40) from generate_series(1, 200) n returning 1
        """
    )
    page = calls.query("users.list")
    assert 1 < len(page["items"]) < 200
    assert page["nextCursor"]
    assert len(cluster.ado("users", "list", "-o", "name", check=0).stdout.split()) == 200


def test_files_of_no_job_and_of_one_moment_are_listed_once(cluster, calls):
    calls.mutate("tasks.create", {"prompt": "true", "workers": 3})
    cluster.sql(
        """
        insert into ado.files (file_id, kind, task_id, job, attempt, worker_id, size, sha256, about, completed_at)
        select 'file-' || lpad(to_hex(n), 32, '0'), case when n < 3 then 'base' else 'result' end, 1,
               case when n >= 3 then mod(n, 3) end, case when n >= 3 then n end, case when n >= 3 then 'w' end,
               0, sha256(''), to_json(repeat('a', 60000)), '2030-01-01'::timestamptz
        from generate_series(1, 10) n returning 1
        """
    )
    assert len(is_divided(calls, "files.list", "fileId", taskId="task-1")) == 10


def test_a_page_of_files_ends_before_it_is_too_large_for_an_answer(cluster, calls):
    calls.mutate("tasks.create", {"prompt": "true"})
    cluster.sql(
        """
        insert into ado.files (file_id, kind, task_id, job, attempt, worker_id, size, sha256, about, completed_at)
        select 'file-' || lpad(to_hex(n), 32, '0'), 'result', 1, 0, n, 'w', 0, sha256(''),
               to_json(repeat('a', 60000)), now()
        from generate_series(1, 100) n returning 1
        """
    )
    page = calls.query("files.list", {"taskId": "task-1"})
    assert 1 < len(page["items"]) < 100
    sizes = [len(found) for found in walked(calls, "files.list", "fileId", taskId="task-1")]
    assert sizes == [3] * 33 + [1]


@pytest.mark.parametrize("path", ["users.list", "tokens.list", "files.list"])
@pytest.mark.parametrize("cursor", ["", "x", "-1", "user-", "9" * 400, "1/\x00", "/1/file-"])
def test_an_invalid_cursor_is_refused(shared_cluster, path, cursor):
    task = shared_cluster.create_task()
    client = HttpClient(shared_cluster.urls, shared_cluster.token)
    with contextlib.closing(client) as calls, pytest.raises(CallError) as refused:
        calls.query(path, {"cursor": cursor, "taskId": task})
    assert (refused.value.reason, refused.value.data["field"]) == ("invalid_input", "cursor")
