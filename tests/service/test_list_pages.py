"""Lists of users, tokens, workers and files come in pages that have each item once."""

import pytest

from app.rpc.client import CallError, HttpClient


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


def test_tokens_of_one_moment(cluster, calls):
    for _ in range(6):
        calls.mutate("tokens.create", {"role": "viewer", "name": "many"})
    cluster.sql("update ado.tokens set created_at = '2030-01-01' where name = 'many' returning 1")
    assert len(is_divided(calls, "tokens.list", "tokenId")) >= 7


def test_workers(cluster, calls):
    for name in ("zeta", "a/b", "ä", "B", "a", "%"):
        calls.mutate("workers.register", {"workerId": name, "capabilities": ["shell"]})
    assert len(is_divided(calls, "workers.list", "workerId")) == 6
    assert len(is_divided(calls, "workers.list", "workerId", state="idle")) == 6
    assert len(cluster.ado("workers", "list", "-o", "name", check=0).stdout.split()) == 6


def test_files_also_those_of_no_job_and_of_one_moment(cluster, calls):
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
def test_a_text_that_is_no_cursor_is_refused(calls, path, cursor):
    calls.mutate("tasks.create", {"prompt": "true"})
    with pytest.raises(CallError) as refused:
        calls.query(path, {"cursor": cursor, "taskId": "task-1"})
    assert (refused.value.reason, refused.value.data["field"]) == ("invalid_input", "cursor")
