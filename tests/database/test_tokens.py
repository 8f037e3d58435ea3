"""Which tokens are valid and with which role, and what opens, ends and deletes them."""

import pytest

from db import sessions, tokens
from db.actor import Actor


async def raw(db, statement, *values):
    """Reach into the tables, as time or an operator would."""
    return await db._pool.fetch(statement, *values)


async def make(db, role="viewer", **values):
    """Store a token; return it."""
    token = tokens.new(role, **values)
    await tokens.create(db, token)
    return token


async def change(db, token, what):
    await raw(db, f"update ado.tokens set {what} where token_id = $1", token.values["token_id"])


async def code(db, opener, text="code", seconds=60.0):
    await sessions.create_code(db, text, token_id=opener.values["token_id"], role="viewer", seconds=seconds, actor=None)


async def session(db, text="code", seconds=3600.0):
    """Open a session with a code; return its token, or None."""
    token = tokens.new("viewer")
    actor = Actor("sessions.exchange", address="192.0.2.1")
    return token if await sessions.open_session(db, text, token, seconds=seconds, actor=actor) else None


async def valid(db, token):
    return (await tokens.find(db, token.token)).valid


@pytest.fixture
async def anna(db):
    await raw(db, "insert into ado.users (user_id, name, role) values (7, 'anna', 'developer'), (8, 'ben', 'admin')")
    return 7


@pytest.fixture
async def opened(db, anna):
    """A token of a user, and the session that it opened."""
    opener = await make(db, user_id=anna)
    await code(db, opener)
    return opener, await session(db)


ENDS = {
    "it is revoked": (1, "revoked_at = now()"),
    "it expires": (1, "expires_at = now()"),
    "its opener is revoked": (0, "revoked_at = now()"),
    "its opener expires": (0, "expires_at = now()"),
}


@pytest.mark.parametrize("how", ENDS)
async def test_a_session_is_valid_until_it_or_its_opener_ends(db, opened, how):
    other, (token, what) = await make(db, user_id=8), ENDS[how]
    assert [await valid(db, each) for each in (*opened, other)] == [True] * 3
    await change(db, opened[token], what)
    assert [await valid(db, each) for each in (*opened, other)] == [token == 1, False, True]


async def test_a_disabled_user_has_no_valid_token(db, opened):
    other = await make(db, user_id=8)
    await raw(db, "update ado.users set disabled_at = now() where user_id = 7")
    assert [await valid(db, each) for each in (*opened, other)] == [False, False, True]


@pytest.mark.parametrize(("role", "found"), [("viewer", "viewer"), ("developer", "developer"), ("admin", "developer")])
async def test_a_token_of_a_user_does_no_more_than_its_user(db, anna, role, found):
    token = await make(db, role, user_id=anna)
    assert (await tokens.find(db, token.token)).role == found


async def test_a_code_opens_one_session_and_no_other_code_is_used_up(db, anna):
    opener = await make(db, user_id=anna)
    await code(db, opener)
    await code(db, await make(db, user_id=8), "other")
    opened = await session(db)
    assert (await tokens.find(db, opened.token)).user_id == anna
    assert await session(db) is None
    assert (await tokens.find(db, (await session(db, "other")).token)).user_id == 8
    targets = await raw(db, "select user_id, target from ado.audit where procedure = 'sessions.exchange' order by at")
    assert targets[0]["user_id"] == "user-7"
    assert targets[0]["target"] == opened.values["token_id"]


NO_SESSION = {
    "the code has expired": "update ado.session_codes set expires_at = now()",
    "the opener is revoked": "update ado.tokens set revoked_at = now()",
    "the opener has expired": "update ado.tokens set expires_at = now()",
    "the user is disabled": "update ado.users set disabled_at = now()",
}


@pytest.mark.parametrize("why", NO_SESSION)
async def test_a_code_opens_no_session_for_nobody(db, anna, why):
    await code(db, await make(db, user_id=anna))
    await raw(db, NO_SESSION[why])
    assert await session(db) is None
    assert len(await raw(db, "select from ado.tokens")) == 1


async def test_a_token_is_revoked_once(db):
    token, other = await make(db), await make(db)
    actor = Actor("tokens.revoke", "user-1", None, name="anna", account="user-1")
    first = await tokens.revoke(db, token.values["token_id"], actor)
    assert await tokens.revoke(db, token.values["token_id"], actor) == first
    assert [await valid(db, each) for each in (token, other)] == [False, True]
    assert len(await raw(db, "select from ado.audit where procedure = 'tokens.revoke'")) == 1
    assert await tokens.revoke(db, "tok-9", actor) is None


async def test_only_the_tokens_of_one_process_end_with_their_worker(db):
    single = {"worker_id": "w1", "single": True}
    ended = await make(db, "worker", **single)
    others = [
        await make(db, "worker", worker_id="w1"),
        await make(db, "worker", worker_id="w2", single=True),
        await make(db, "viewer"),
    ]
    before = await make(db, "worker", **single)
    await change(db, before, "revoked_at = 'epoch'")
    await tokens.end_single(db, "w1")
    assert [await valid(db, each) for each in (ended, *others)] == [False, True, True, True]
    rows = await raw(db, "select from ado.tokens where revoked_at = 'epoch'")
    assert len(rows) == 1  # the time of an earlier end stays


async def test_a_use_is_stored_once_a_minute_for_the_tokens_that_were_used(db):
    used, recent, other = await make(db), await make(db), await make(db)
    await change(db, recent, "last_used_at = now() - interval '30 seconds'")

    async def times():
        rows = await raw(db, "select token_id, last_used_at from ado.tokens")
        return {row["token_id"]: row["last_used_at"] for row in rows}

    before = await times()
    await tokens.mark_used(db, {used.values["token_id"], recent.values["token_id"]})
    after = await times()
    assert {token_id for token_id in after if after[token_id] != before[token_id]} == {used.values["token_id"]}
    assert after[other.values["token_id"]] is None
    await change(db, used, "last_used_at = now() - interval '61 seconds'")
    before = await times()
    await tokens.mark_used(db, {used.values["token_id"]})
    assert (await times())[used.values["token_id"]] > before[used.values["token_id"]]


async def test_workers_tokens_and_sessions_are_deleted_a_day_after_their_end_and_others_stay(db, opened):
    opener, ended = opened
    worker, lasting, recent = [await make(db, "worker", worker_id=name) for name in ("w1", "w2", "w3")]
    for token in (opener, ended, worker):
        await change(db, token, "revoked_at = now() - interval '25 hours', expires_at = null")
    await change(db, recent, "revoked_at = now()")
    assert await tokens.prune(db) == 2
    left = {row["token_id"] for row in await raw(db, "select token_id from ado.tokens")}
    assert left == {token.values["token_id"] for token in (opener, lasting, recent)}
