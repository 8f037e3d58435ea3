"""Users at work, from the command line to the database: who did what, whose tasks, and the end of a user."""

import asyncio
import json
from contextlib import closing

from support.program import until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app.rpc.client import HttpClient


def add_user(cluster, name, role="developer"):
    """Add a user; return a token of theirs."""
    cluster.ado("users", "add", name, "--role", role, check=0)
    made = cluster.ado("token", "create", "--user", name, "--name", "laptop", "-o", "json", check=0)
    return json.loads(made.stdout)["token"]


def test_the_user_of_each_change_is_shown(cluster):
    anna = add_user(cluster, "anna")
    me = json.loads(cluster.ado("whoami", "-o", "json", token=anna, check=0).stdout)
    assert (me["name"], me["userId"], me["role"], me["tokenName"]) == ("anna", "user-1", "developer", "laptop")
    cluster.ado("run", "--remote", "--detach", "--agent", "shell", "x", check=0)
    cluster.ado("run", "--remote", "--detach", "--agent", "shell", "y", token=anna, check=0)
    mine = json.loads(cluster.ado("tasks", "--mine", "-o", "json", token=anna, check=0).stdout)["items"]
    assert [(task["taskId"], task["createdBy"]) for task in mine] == [("task-2", "anna")]
    for name in ("anna", "user-1"):
        found = json.loads(cluster.ado("tasks", "--created-by", name, "-o", "json", check=0).stdout)["items"]
        assert [task["taskId"] for task in found] == ["task-2"]
    refused = cluster.ado("cancel", "task-1", token=anna, check=126)
    assert "a developer changes only own tasks" in refused.stderr.decode()
    cluster.ado("cancel", "task-2", token=anna, check=0)
    assert cluster.sql("select body->>'by' from ado.events where task_id = 2 and type = 'cancel_requested'") == [
        ("anna",)
    ]
    listed = json.loads(cluster.ado("token", "list", "-o", "json", check=0).stdout)["items"]
    (token,) = [token for token in listed if token.get("user") == "anna"]
    admin = next(token["tokenId"] for token in listed if token["role"] == "admin")
    assert (token["name"], token["createdBy"], token["role"]) == ("laptop", admin, "developer")
    rows = cluster.sql("select procedure, user_id, target from ado.audit where user_id is not null order by at")
    assert ("tasks.cancel", "user-1", "task-2") in rows


def test_the_last_use_of_a_token_is_stored_at_intervals(cluster):
    anna = add_user(cluster, "anna", "viewer")
    with closing(HttpClient(cluster.urls, anna)) as client:
        client.query("users.whoami")

    def used():
        return cluster.sql("select last_used_at from ado.tokens where user_id = 1")[0][0]

    until(lambda: used() is not None, "the token's use to be stored")
    first = used()
    cluster.sql("update ado.tokens set last_used_at = now() - interval '59 seconds' where user_id = 1 returning 1")
    earlier = used()
    assert earlier != first
    with closing(HttpClient(cluster.urls, anna)) as client:
        client.query("users.whoami")
        until(lambda: (client.query("users.whoami"), used() != earlier)[1], "its later use to be stored")
    assert (used() - earlier).total_seconds() >= 60


async def test_disabling_a_user_ends_its_tokens_and_its_open_sockets(cluster):
    anna = add_user(cluster, "anna")
    url = cluster.urls[0].replace("http", "ws") + "/trpc"
    async with connect(url, additional_headers={"authorization": f"Bearer {anna}"}) as socket:
        await socket.send(json.dumps({"id": 7, "method": "subscription", "params": {"path": "stream.systemEvents"}}))
        while json.loads(await socket.recv()).get("result", {}).get("type") != "data":
            continue
        await asyncio.to_thread(cluster.ado, "users", "disable", "anna", check=0, url=cluster.urls[1])
        errors = []
        try:
            async with asyncio.timeout(60):
                while True:
                    frame = json.loads(await socket.recv())
                    errors += [frame["error"]["data"]["code"]] if "error" in frame else []
        except ConnectionClosed:
            pass
        assert errors == ["UNAUTHORIZED"]
    refused = await asyncio.to_thread(cluster.ado, "whoami", token=anna, check=126)
    assert "disabled" in refused.stderr.decode()
    await asyncio.to_thread(cluster.ado, "users", "set", "anna", "--enable", check=0)
    await asyncio.to_thread(cluster.ado, "whoami", token=anna, check=126)


async def test_a_role_that_is_taken_away_ends_open_sockets_and_bounds_every_token(cluster):
    anna = add_user(cluster, "anna", "operator")
    url = cluster.urls[0].replace("http", "ws") + "/trpc"
    async with connect(url, additional_headers={"authorization": f"Bearer {anna}"}) as socket:
        await asyncio.to_thread(cluster.ado, "users", "set", "anna", "--role", "viewer", check=0)
        try:
            async with asyncio.timeout(60):
                while True:
                    await socket.recv()
        except ConnectionClosed:
            pass
    me = await asyncio.to_thread(cluster.ado, "whoami", "-o", "json", token=anna, check=0)
    assert json.loads(me.stdout)["role"] == "viewer"
    create = ("token", "create", "--user", "anna", "--role", "admin")
    refused = await asyncio.to_thread(cluster.ado, *create, check=2)
    assert "its tokens may do no more" in refused.stderr.decode()


def test_the_list_of_users_is_changed_by_administrators_alone(cluster):
    anna = add_user(cluster, "anna")
    cluster.ado("users", "set", "anna", "--role", "admin", token=anna, check=126)
    cluster.ado("users", "set", "anna", "--running", "20", "--queued", "200", "--cost-per-day", "50", check=0)
    cluster.ado("users", "set", "--role", "developer", "--running", "4", check=0)
    cluster.ado("users", "set", "anna", "--queued", "none", "--email", "anna@example.org", check=0)
    found = json.loads(cluster.ado("users", "list", "-o", "json", check=0).stdout)
    (user,) = found["items"]
    assert (user["name"], user["running"], user["costPerDay"], user["email"]) == ("anna", 20, 50, "anna@example.org")
    assert "queued" not in user
    assert found["roles"] == [{"role": "developer", "running": 4}]
    cluster.ado("users", "add", "anna", check=1)
    cluster.ado("users", "disable", "nobody", check=127)
    for name in ("user-9", "tok-1", "a b", "", "a\n"):
        cluster.ado("users", "add", name, check=2)


def test_a_promotion_reports_that_older_tokens_keep_their_role(cluster):
    anna = add_user(cluster, "anna")
    (token_id,) = cluster.sql("select token_id from ado.tokens where user_id = 1")[0]
    raised = cluster.ado("users", "set", "anna", "--role", "operator", check=0).stderr.decode()
    assert f"tokens that were made before keep their role: {token_id} (developer)" in raised
    assert "ado token create --user anna" in raised
    assert json.loads(cluster.ado("whoami", "-o", "json", token=anna, check=0).stdout)["role"] == "developer"
    cluster.ado("token", "revoke", token_id, check=0)
    assert b"keep their role" not in cluster.ado("users", "set", "anna", "--role", "admin", check=0).stderr


def test_tasks_of_a_disabled_user_are_named_and_stopped_by_one_command(cluster):
    run = ("run", "--remote", "--detach", "--agent", "shell", "sleep 600")
    for token in (add_user(cluster, "anna"), None):
        cluster.ado(*run, token=token, check=0)
    left = cluster.ado("users", "disable", "anna", check=0).stderr.decode()
    assert "1 task goes on" in left
    assert "ado cancel --created-by anna" in left
    cluster.ado("cancel", "task-2", "--created-by", "anna", check=2)
    cluster.ado("cancel", "--created-by", "anna", "--label", "no-such", "--yes", check=0)
    assert cluster.task("task-1")["status"] == "queued"
    cluster.ado("cancel", "--created-by", "anna", "--yes", check=0)
    assert [cluster.task(name)["status"] for name in ("task-1", "task-2")] == ["cancelled", "queued"]
    again = cluster.ado("cancel", "--created-by", "anna", "--yes", check=0).stderr.decode()
    assert "anna has no open task" in again
    assert b"goes on" not in cluster.ado("users", "disable", "anna", check=0).stderr


def test_a_refusal_names_the_permitted_roles(cluster):
    anna = add_user(cluster, "anna")
    cluster.ado("run", "--remote", "--detach", "--agent", "shell", "x", check=0)
    for command, step in (
        (("users", "list"), "use a token of role admin"),
        (("workers", "drain", "w"), "use a token of role operator or admin"),
        (("cancel", "task-1"), "ask its owner, or use a token of role operator or admin"),
    ):
        assert f"ado: {step}\n" in cluster.ado(*command, token=anna, check=126).stderr.decode()


def test_a_limit_refuses_tasks_or_delays_jobs_with_the_reason(cluster):
    anna = add_user(cluster, "anna")
    cluster.ado("users", "set", "anna", "--running", "1", "--queued", "2", check=0)
    run = ("run", "--remote", "--detach", "--agent", "shell", "sleep 600")
    cluster.ado(*run, token=anna, check=0)
    cluster.add_worker("w1", "--slots", "4")
    until(lambda: cluster.task("task-1")["status"] == "running", "task-1 to run")
    cluster.ado(*run, "--workers", "2", token=anna, check=0)
    refused = cluster.ado(*run, token=anna, check=2)
    assert "anna has 2 jobs queued; 1 more would be above the limit of 2" in refused.stderr.decode()
    assert "ado users set anna --queued N" in refused.stderr.decode()
    said = json.loads(cluster.ado("explain", "task-2", "-o", "json", token=anna, check=0).stdout)
    assert said["why"].startswith("quota: anna has 1 jobs running, the limit is 1")
    assert {worker["unmet"] for worker in said["workers"]} == {"quota"}
    cluster.ado("cancel", "task-1", token=anna, check=0)
    until(lambda: cluster.task("task-2")["status"] == "running", "task-2 to have its turn")
    assert [job["status"] for job in cluster.task("task-2")["jobs"]].count("running") == 1
