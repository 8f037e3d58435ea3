"""Sessions of the dashboard: a code for one use, the token that it becomes, and how both end."""

import http.client
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.program import Cluster, until

from app.rpc.client import CallError, HttpClient
from db import tokens
from db.database import Database


def post(url, path, value, token=None, **headers):
    """Call a mutation as a page does; return status and answer."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    if token:
        headers["authorization"] = f"Bearer {token}"
    try:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        connection.request("POST", f"/trpc/{path}", body, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def code_of(cluster, token, **value):
    return post(cluster.urls[0], "sessions.code", value, token)[1]["result"]["data"]["code"]


def exchange(cluster, code, replica=1):
    """Return the opened session, or the reason of the refusal."""
    _, answer = post(cluster.urls[replica], "sessions.exchange", {"code": code})
    return answer["error"]["data"]["reason"] if "error" in answer else answer["result"]["data"]


def session_of(cluster, token, **value):
    return exchange(cluster, code_of(cluster, token, **value))


_clients = []


def client(cluster, token):
    _clients.append(HttpClient(cluster.urls, token))
    return _clients[-1]


@pytest.fixture(autouse=True)
def no_connection_is_left():
    yield
    while _clients:
        _clients.pop().close()


def whoami(cluster, token):
    return client(cluster, token).query("users.whoami")


def reason_of(call, *arguments):
    with pytest.raises(CallError) as refused:
        call(*arguments)
    return refused.value.reason


@pytest.fixture
def cluster(shared_cluster):
    return shared_cluster


def users_token(cluster, name, role):
    """Add a user; return a token of theirs."""
    client(cluster, cluster.token).mutate("users.add", {"name": name, "role": role})
    return client(cluster, cluster.token).mutate("tokens.create", {"user": name, "name": "laptop"})["token"]


def test_a_code_opens_one_session_of_its_user_on_any_replica(cluster):
    laptop = users_token(cluster, "anna", "developer")
    code = code_of(cluster, laptop)
    session = exchange(cluster, code)
    assert set(session) == {"token", "tokenId", "role", "expiresAt"}
    assert session["role"] == "developer"
    me = whoami(cluster, session["token"])
    assert (me["name"], me["tokenId"], me["tokenName"]) == ("anna", session["tokenId"], "dashboard")
    (hours,) = cluster.sql(
        "select extract(epoch from expires_at - created_at) / 3600 from ado.tokens where token_id = %s",
        session["tokenId"],
    )[0]
    assert float(hours) == pytest.approx(12)
    for replica in (0, 1):
        assert exchange(cluster, code, replica) == "code_invalid"
    listed = client(cluster, cluster.token).query("tokens.list", {})["items"]
    (mine,) = [token for token in listed if token["tokenId"] == session["tokenId"]]
    assert (mine["user"], mine["createdBy"], mine["openedWith"]) == ("anna", "anna", whoami(cluster, laptop)["tokenId"])


def test_of_many_who_exchange_a_code_at_once_one_gets_the_session(cluster):
    for _ in range(5):
        code = code_of(cluster, cluster.token)
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda number, code=code: exchange(cluster, code, number % 2), range(16)))
        assert len([answer for answer in found if answer != "code_invalid"]) == 1


def test_neither_code_nor_token_is_stored(cluster):
    code = code_of(cluster, cluster.token)
    session = session_of(cluster, cluster.token)
    for table in ("session_codes", "tokens", "audit"):
        text = str(cluster.sql(f"select t::text from ado.{table} t"))
        assert code not in text
        assert session["token"] not in text
    assert cluster.sql("select count(*) from ado.session_codes where digest = %s", tokens.digest(code)) == [(1,)]


def test_a_code_ends_after_a_minute(cluster):
    code = code_of(cluster, cluster.token)
    left = "select extract(epoch from expires_at - now()) from ado.session_codes where digest = %s"
    assert 50 < float(cluster.sql(left, tokens.digest(code))[0][0]) <= 60
    cluster.sql("update ado.session_codes set expires_at = now() where digest = %s returning 1", tokens.digest(code))
    assert exchange(cluster, code) == "code_invalid"
    codes = "select count(*) from ado.session_codes where expires_at <= now()"
    until(lambda: cluster.sql(codes) == [(0,)], "the janitor")


def test_a_session_may_do_less_and_never_more_than_its_opener(cluster):
    operator = cluster.make_token("operator")
    viewer = session_of(cluster, operator, role="viewer")
    assert viewer["role"] == "viewer"
    mine = client(cluster, viewer["token"])
    assert reason_of(mine.mutate, "workers.scale", {"count": 0}) == "forbidden"
    status, answer = post(cluster.urls[0], "sessions.code", {"role": "admin"}, operator)
    assert (status, answer["error"]["data"]["field"]) == (400, "role")
    ben = users_token(cluster, "ben", "operator")
    session = session_of(cluster, ben)
    client(cluster, cluster.token).mutate("users.set", {"name": "ben", "role": "viewer"})
    until(lambda: whoami(cluster, session["token"])["role"] == "viewer", "the session to lose its role")


def test_a_session_opens_no_further_sessions_and_does_not_outlive_its_opener(cluster):
    session = session_of(cluster, cluster.token)
    assert post(cluster.urls[0], "sessions.code", {}, session["token"])[0] == 403
    opener = cluster.make_token("viewer", expires_seconds=600.0)
    session = session_of(cluster, opener)
    same = "select count(distinct expires_at) from ado.tokens where token_id in (%s, %s)"
    assert cluster.sql(same, session["tokenId"], whoami(cluster, opener)["tokenId"]) == [(1,)]


def test_revoking_the_opener_ends_its_codes_and_sessions(cluster):
    opener = cluster.make_token("viewer")
    session, code = session_of(cluster, opener), code_of(cluster, opener)
    client(cluster, cluster.token).mutate("tokens.revoke", {"tokenId": whoami(cluster, opener)["tokenId"]})
    assert exchange(cluster, code) == "code_invalid"
    until(lambda: _is_dead(cluster, session["token"]), "the session to end")


def test_a_disabled_user_opens_no_session(cluster):
    code = code_of(cluster, users_token(cluster, "carl", "admin"))
    client(cluster, cluster.token).mutate("users.disable", {"name": "carl"})
    assert exchange(cluster, code) == "code_invalid"


def test_a_session_ends_itself_and_is_revoked_like_other_tokens(cluster):
    session = session_of(cluster, cluster.token)
    assert post(cluster.urls[1], "sessions.end", {}, cluster.token)[0] == 403
    assert post(cluster.urls[1], "sessions.end", {}, session["token"])[0] == 200
    until(lambda: _is_dead(cluster, session["token"]), "the session to end")
    session = session_of(cluster, cluster.token)
    client(cluster, cluster.token).mutate("tokens.revoke", {"tokenId": session["tokenId"]})
    until(lambda: _is_dead(cluster, session["token"]), "the session to end")


def _is_dead(cluster, token):
    return post(cluster.urls[0], "sessions.end", 5, token)[1]["error"]["data"]["reason"] == "token_invalid"


def test_a_services_session_owns_what_the_service_created(cluster):
    """The dashboard of an embedded control plane shows as own what its command line created."""
    service = cluster.make_token("developer", name="ci")
    made = client(cluster, service).mutate("tasks.create", {"prompt": "x", "requires": ["nowhere"]})
    session = session_of(cluster, service)
    mine = client(cluster, session["token"])
    assert [task["taskId"] for task in mine.query("tasks.list", {"mine": True})["items"]] == [made["taskId"]]
    assert mine.mutate("tasks.cancel", {"taskId": made["taskId"]})["status"] == "cancelled"
    again = mine.mutate("tasks.create", {"prompt": "x", "requires": ["nowhere"]})
    assert again["createdBy"] == "ci"
    found = client(cluster, service).query("tasks.list", {"mine": True})["items"]
    assert [task["taskId"] for task in found] == [again["taskId"], made["taskId"]]


def test_codes_exchanges_and_their_refusals_are_audited(cluster):
    opener = cluster.make_token("viewer")
    name = whoami(cluster, opener)["tokenId"]
    session = session_of(cluster, opener)
    exchange(cluster, "code_unknown")
    rows = "select procedure, target from ado.audit where token_id = %s and outcome = 'ok' order by at, audit_id"
    assert cluster.sql(rows, name) == [("sessions.code", name), ("sessions.exchange", session["tokenId"])]
    refused = "select procedure, token_id, address from ado.audit where reason = 'code_invalid'"
    until(lambda: ("sessions.exchange", None, "127.0.0.1") in cluster.sql(refused), "the refusal's row")


@pytest.mark.parametrize(
    "value", [5, {}, {"code": ""}, {"code": None}, {"code": "x" * 201}, {"code": 1}, b"{", b"\xff\xfe", {"code": "\0"},
              {"code": "é\ud800".encode("utf-16", "surrogatepass").decode("utf-16", "replace")}]
)  # fmt: skip
def test_nonsense_opens_nothing(cluster, value):
    status, answer = post(cluster.urls[0], "sessions.exchange", value)
    assert status in (400, 401)
    assert answer["error"]["data"]["reason"] in ("invalid_input", "code_invalid", "parse_error")


def test_an_unknown_caller_sends_little_and_only_to_exchange(cluster):
    """The limits for callers without a token hold for a procedure that needs none."""
    status, answer = post(cluster.urls[0], "sessions.exchange", {"code": "c", "more": "x" * 70_000})
    assert (status, answer["error"]["data"]["limit"]) == (413, 65536)
    status, _ = post(cluster.urls[0], "sessions.exchange,tasks.list?batch=1", {"0": {"code": "c"}})
    assert status in (400, 401)
    status, answer = post(cluster.urls[0], "sessions.exchange,sessions.end?batch=1", {"0": {"code": "c"}})
    assert {part["error"]["data"]["reason"] for part in answer} == {"token_missing"}


def test_a_page_of_another_site_exchanges_nothing(cluster):
    code = code_of(cluster, cluster.token)
    status, answer = post(cluster.urls[0], "sessions.exchange", {"code": code}, origin="http://evil.example")
    assert (status, answer["error"]["data"]["reason"]) == (403, "foreign_origin")
    connection = http.client.HTTPConnection(cluster.urls[0].removeprefix("http://"), timeout=60)
    connection.request("GET", "/trpc/sessions.exchange?input=%7B%22code%22%3A%22" + code + "%22%7D")
    assert connection.getresponse().status == 405
    connection.close()
    assert exchange(cluster, code)["role"] == "admin"


def test_guesses_of_codes_are_slowed_down(dsn, tmp_path):
    """As wrong tokens are: beyond the limit of an address each answer takes a second."""
    guessed = Cluster(dsn, tmp_path, env={"ADO_FAILED_SIGN_INS": "3"})
    try:
        url = guessed.add_replicas(1).urls[0]
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            reasons = {answer["error"]["data"]["reason"] for _, answer in pool.map(
                lambda number: post(url, "sessions.exchange", {"code": f"code_{number}"}), range(8))}  # fmt: skip
        assert reasons == {"code_invalid"}
        assert time.monotonic() - began >= 1
        session = exchange(guessed, code_of(guessed, guessed.token), 0)
        assert session["role"] == "admin"
    finally:
        guessed.close()


async def test_a_session_that_ended_is_forgotten_after_a_day(dsn):
    db = await Database.open(dsn, size=1)
    opener, other = tokens.new("admin", name="ci"), tokens.new("viewer")
    for token in (opener, other):
        await tokens.create(db, token)
    for hours in (23, 25):
        await db._pool.fetch(
            """insert into ado.tokens (token_id, digest, role, expires_at, opened_with)
               values ($1, $2, 'viewer', now() - make_interval(hours => $3), $4)""",
            f"tok-{hours}", str(hours).encode(), hours, opener.values["token_id"],
        )  # fmt: skip
    assert await tokens.prune(db) == 1
    rows, _ = await tokens.listing(db)
    assert {row["token_id"] for row in rows} == {opener.values["token_id"], other.values["token_id"], "tok-23"}
    await db.close()


def test_open_prints_an_address_that_signs_in_once(cluster):
    for words, path in (((), "/"), (("task-7",), "/tasks/task-7"), (("7", "--role", "viewer"), "/tasks/task-7")):
        done = cluster.ado("open", "--no-browser", *words, check=0)
        origin, _, code = done.stdout.decode().strip().partition("#code=")
        assert origin in [url + path for url in cluster.urls]
        assert exchange(cluster, code)["role"] == ("viewer" if words[1:] else "admin")
    shown = json.loads(cluster.ado("open", "--no-browser", "-o", "json", check=0).stdout)
    assert set(shown) == {"address", "expiresAt"}
    assert exchange(cluster, shown["address"].partition("#code=")[2])["role"] == "admin"


def test_open_starts_the_persons_browser(cluster, tmp_path):
    """A browser that visits the address it is given, and writes into a file where it is sent."""
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f"#!/bin/sh\ncurl -s -w '%{{redirect_url}}' \"$1\" >{opened}.new && mv {opened}.new {opened}\n")
    browser.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli", "open", "task-3"],
        env={**cluster.client_env(), "BROWSER": str(browser)}, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert (done.stdout, b"#code" in done.stderr) == (b"", False)
    until(opened.exists, "the browser")
    address = opened.read_text()
    assert "/tasks/task-3#code=" in address
    assert exchange(cluster, address.partition("#code=")[2])["role"] == "admin"
