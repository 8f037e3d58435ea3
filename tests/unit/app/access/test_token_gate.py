"""Who gets a context, for how long a token is believed, and which refusals are audited."""

import itertools
from types import SimpleNamespace

import pytest

from app.access import auth
from app.access.auth import CACHE_SECONDS, EXCHANGE, OPERATE, READ, REPORT, RUN_TASKS, TokenGate
from app.access.context import Context
from app.access.sign_ins import FailedSignIns
from app.core.reasons import refusal
from app.metrics import instruments
from app.rpc import request_id
from app.rpc.errors import ProcedureError
from app.rpc.server.gate import Credentials
from app.rpc.server.procedure import mutation, query, subscription
from app.rpc.server.registry import Registry
from db import tokens
from db.errors import DatabaseFull, DatabaseReadOnly, DatabaseRefused, DatabaseUnavailable, LogPruned, LogRewound
from db.tokens import TokenRow

_numbers = itertools.count()


@query(access=READ)
async def look(context) -> None: ...


@mutation(access=RUN_TASKS)
async def change(context) -> None: ...


@mutation(access=REPORT)
async def report(context) -> None: ...


@subscription(access=READ)
async def watch(context):
    yield None


REGISTRY = Registry({"t.look": look, "t.change": change, "t.report": report, "t.watch": watch})
PROCEDURES = {path.partition(".")[2]: procedure for path, procedure in REGISTRY.procedures.items()}


def token(role="developer", *, valid=True, user_id=7):
    return TokenRow(f"tok-{next(_numbers)}", role, None, None, None, None, None, None, valid, user_id)


class World:
    """A gate over tokens that a test names, with a clock that it moves."""

    def __init__(self, monkeypatch):
        self.known, self.lookups, self.noted, self.marked, self.now = {}, [], [], [], 100.0
        monkeypatch.setattr(tokens, "find", self._find)
        monkeypatch.setattr(tokens, "mark_used", self._mark)
        monkeypatch.setattr(auth, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.settings = SimpleNamespace(tls_client_ca="")
        self.services = SimpleNamespace(
            settings=self.settings, db=None, refusals=SimpleNamespace(note=self.noted.append),
            sign_ins=FailedSignIns(100),
        )  # fmt: skip
        self.gate = TokenGate(self.services, REGISTRY)

    async def _find(self, db, secret):
        self.lookups.append(secret)
        if isinstance(found := self.known.get(secret), Exception):
            raise found
        return found

    async def _mark(self, db, used):
        self.marked.append(set(used))

    async def open(self, secret="s", **values):
        return await self.gate.open(Credentials(f"Bearer {secret}", **values))

    def context(self, role, *, certified=False):
        return Context(self.services, token(role), "s", certified)


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


async def test_the_token_is_in_the_header_or_in_the_parameters(world):
    world.known["s"] = caller = token()
    for credentials in (
        Credentials("Bearer s"),
        Credentials("bearer  s "),
        Credentials(params={"token": "s"}),
        Credentials("Basic eA==", {"token": "s"}),
        Credentials("Bearer ", {"token": "s"}),
    ):
        assert (await world.gate.open(credentials)).caller is caller
    for credentials in (Credentials(), Credentials("Basic s"), Credentials("Bearer ")):
        with pytest.raises(ProcedureError) as refused:
            await world.gate.open(credentials)
        assert refused.value.reason == "token_missing"


async def test_a_token_is_looked_up_again_after_two_seconds(world):
    world.known["s"] = token()
    await world.open()
    world.now += CACHE_SECONDS - 0.5
    assert (await world.open()).caller is world.known["s"]
    assert world.lookups == ["s"]
    world.now += 0.5
    await world.open()
    assert world.lookups == ["s", "s"]


async def test_a_token_that_ended_is_not_kept_in_memory(world):
    world.known["s"] = token()
    await world.open()
    world.now += CACHE_SECONDS
    world.known["s"] = token(valid=False)
    with pytest.raises(ProcedureError):
        await world.open()
    assert not world.gate._cache


@pytest.mark.parametrize("role", ["attempt", "job"])
async def test_a_credential_of_an_attempt_is_looked_up_each_time(world, role):
    world.known["s"] = token(role)
    await world.open()
    await world.open()
    assert world.lookups == ["s", "s"]


async def test_the_cache_is_bounded(world, monkeypatch):
    monkeypatch.setattr(auth, "_CACHE_TOKENS", 2)
    world.known = {name: token() for name in "abc"}
    for name in "ab":
        await world.open(name)
    await world.open("a")
    assert world.lookups == ["a", "b"]
    await world.open("c")
    await world.open("a")
    assert world.lookups == ["a", "b", "c", "a"]


async def test_unknown_and_ended_tokens_are_refused_and_audited(world):
    world.known["ended"] = token(valid=False)
    address = request_id.address.set("192.0.2.1")
    try:
        for secret, path in (("unknown", "t.look"), ("ended", "/metrics"), ("unknown", "t.nothing")):
            with pytest.raises(ProcedureError) as refused:
                await world.open(secret, path=path)
            assert (refused.value.code, refused.value.reason) == ("UNAUTHORIZED", "token_invalid")
    finally:
        request_id.address.reset(address)
    noted = [(each.reason, each.procedure, each.user_id, each.token_id, each.address) for each in world.noted]
    assert noted == [("token_invalid", path, None, None, "192.0.2.1") for path in ("t.look", "/metrics", None)]


async def test_wrong_tokens_beyond_the_allowance_of_their_address_are_slowed_down(world, monkeypatch):
    waited = []

    async def slow_down(address):
        waited.append(address)

    monkeypatch.setattr(world.gate._sign_ins, "slow_down", slow_down)
    address = request_id.address.set("192.0.2.1")
    try:
        with pytest.raises(ProcedureError):
            await world.open("unknown")
    finally:
        request_id.address.reset(address)
    assert waited == ["192.0.2.1"]


async def test_an_open_socket_ends_when_its_token_does_and_stays_while_the_database_is_away(world):
    world.known["s"] = token()
    context = await world.open()
    world.now += CACHE_SECONDS
    world.known["s"] = DatabaseUnavailable("away")
    await world.gate.check(context)
    world.known["s"] = token()
    await world.gate.check(context)
    for changed in (token("viewer"), token(valid=False), None):
        world.now += CACHE_SECONDS
        world.known["s"] = changed
        with pytest.raises(ProcedureError) as refused:
            await world.gate.check(context)
        assert refused.value.reason == "token_invalid"


async def test_tokens_that_were_used_are_marked_once(world):
    world.known["s"] = token()
    await world.gate.mark_used()
    await world.open()
    await world.gate.mark_used()
    await world.open()
    await world.gate.mark_used()
    await world.gate.mark_used()
    assert world.marked == [{world.known["s"].token_id}] * 2


def test_a_role_without_the_right_is_refused_with_the_roles_that_have_it(world):
    world.gate.allow(world.context("developer"), PROCEDURES["change"])
    with pytest.raises(ProcedureError) as refused:
        world.gate.allow(world.context("viewer"), PROCEDURES["change"])
    assert refused.value.reason == "forbidden"
    assert refused.value.hint == "use a token of role developer or operator or admin"
    assert auth._who_may("ask") == "call it inside a job, with the job's own ADO_TOKEN"


def test_a_worker_needs_a_certificate_where_the_server_asks_for_one(world):
    world.gate.allow(world.context("worker"), PROCEDURES["report"])
    world.settings.tls_client_ca = "ca.pem"
    world.gate.allow(world.context("worker", certified=True), PROCEDURES["report"])
    world.gate.allow(world.context("developer"), PROCEDURES["look"])
    for role, access in (("worker", "read_files"), ("attempt", "read_files"), ("admin", REPORT)):
        with pytest.raises(ProcedureError) as refused:
            world.gate.allow_page(world.context(role), access, "/metrics")
        assert refused.value.reason == "certificate_missing"


def test_a_refused_page_is_audited_with_its_caller(world):
    context = world.context("viewer")
    world.gate.allow_page(context, READ, "/metrics")
    with pytest.raises(ProcedureError):
        world.gate.allow_page(context, OPERATE, "/metrics")
    (noted,) = world.noted
    assert (noted.reason, noted.procedure) == ("forbidden", "/metrics")
    assert (noted.user_id, noted.token_id) == ("user-7", context.caller.token_id)


@pytest.mark.parametrize(
    ("role", "procedure", "error", "audited"),
    [
        ("viewer", "look", refusal("forbidden", ""), True),
        ("worker", "report", refusal("forbidden", ""), True),
        ("developer", "look", ProcedureError("CONFLICT", ""), False),
        ("developer", "change", ProcedureError("CONFLICT", ""), True),
        ("developer", "change", ProcedureError("CLIENT_CLOSED_REQUEST", ""), True),
        ("developer", "change", ProcedureError("INTERNAL_SERVER_ERROR", ""), False),
        ("admin", "report", ProcedureError("CONFLICT", ""), False),
        ("job", "change", ProcedureError("CONFLICT", ""), False),
    ],
)
def test_what_is_audited_is_a_refusal_of_access_or_of_a_change_by_a_person(world, role, procedure, error, audited):
    world.gate.refused(world.context(role), PROCEDURES[procedure], {"taskId": "task-1"}, error)
    noted = [(each.reason, each.procedure, each.target) for each in world.noted]
    assert noted == ([(error.reason or error.code, f"t.{procedure}", "task-1")] if audited else [])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DatabaseReadOnly(), "database_read_only"),
        (DatabaseFull(), "database_full"),
        (DatabaseUnavailable("away"), "database_unavailable"),
        (LogPruned("dropped"), "log_pruned"),
        (LogRewound(1, 5, 3), "cursor_ahead"),
        (DatabaseRefused("no"), "invalid_input"),
    ],
)
def test_an_error_of_the_database_is_a_refusal_with_a_reason(world, error, reason):
    assert world.gate.explain(error).reason == reason


def test_any_other_error_is_hidden(world):
    assert world.gate.explain(ValueError("a secret")) is None


def test_calls_of_unknown_paths_are_counted_together_and_only_calls_that_end_are_timed(world):
    def calls(path):
        return instruments.CALLS.labels(path, "http", "OK")._value.get()

    def timed(path):
        return instruments.CALL_SECONDS.labels(path)._sum.get()

    for path, counted, seconds in (("t.look", "t.look", 2), ("t.watch", "t.watch", 0), ("t.odd", "unknown", 0)):
        before, before_seconds = calls(counted), timed(counted)
        world.gate.observe(path, "http", "OK", 2)
        assert (calls(counted) - before, timed(counted) - before_seconds) == (1, seconds)


async def test_a_procedure_that_is_open_to_all_needs_no_token(monkeypatch):
    @mutation(access=EXCHANGE)
    async def enter(context) -> None: ...

    world = World(monkeypatch)
    gate = TokenGate(world.services, Registry({"t.enter": enter, "t.look": look}))
    context = await gate.open(Credentials(path="t.enter"))
    gate.allow(context, enter.procedure)
    await gate.check(context)
    assert not gate.is_known(context)
    assert world.lookups == []
    with pytest.raises(ProcedureError, match="may not do this"):
        gate.allow(context, look.procedure)
    with pytest.raises(ProcedureError, match="no token"):
        await gate.open(Credentials(path="t.look"))
