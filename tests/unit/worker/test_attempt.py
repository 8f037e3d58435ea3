"""An attempt ends with one finish after any failure: a real agent under a real keeper, with a recorded server."""

import asyncio
import base64
import hashlib
import os
import socket
import time

import orjson
import pytest
from support.program import processes_with

from app.rpc.client import CallError, Item, NoAnswer
from worker import agent_output
from worker import attempt as attempt_module
from worker.agents.verdict import Outcome
from worker.attempt import Attempt
from worker.machine_health import MachineHealth
from worker.output.event_pipe import EventPipe
from worker.output.masking import Masker
from worker.output.wire_events import ServerLimits
from worker.processes import process
from worker.processes.removal import RemovalQueue
from worker.repository.transfers import AttemptFiles
from worker.secret_store import SecretStore
from worker.settings import WorkerSettings
from worker.turn import Turn


class Server:
    """Answers every call and keeps what was said."""

    def __init__(self):
        self.events = []
        self.finishes = []
        self.refuses = lambda report: False
        self.input = b""
        self.asked = []
        self.trouble = []
        self.messages = []
        self.fetches_before = 0  # how often the messages are asked for before they are there
        self.calls = []

    async def subscribe(self, path, wish):
        """Give the next page of the input, or raise what is in the way."""
        assert path == "workers.input"
        self.asked.append(wish["offset"])
        if self.trouble:
            raise self.trouble.pop()
        data = self.input[wish["offset"] :][: wish["maxBytes"]]
        end = wish["offset"] + len(data) == len(self.input)
        yield Item(None, {"offset": wish["offset"], "data": base64.b64encode(data).decode(), "end": end})

    async def call(self, path, value):
        value = orjson.loads(orjson.dumps(value))
        self.calls.append(path)
        if path == "workers.messages":
            self.fetches_before -= 1
            page = self.messages if value["after"] is None and self.fetches_before < 0 else []
            return {"items": page, "next": page[-1]["messageId"] if page else None}
        if path == "workers.delivered":
            self.messages = [item for item in self.messages if item["messageId"] not in value["messageIds"]]
            return {}
        if path == "workers.append":
            self.events += value["events"]
            return {"acknowledged": value["batch"]}
        assert path == "workers.finish"
        self.finishes.append(value)
        if self.refuses(value):
            raise CallError("no", {"code": "BAD_REQUEST"})
        return {}


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def make(server, tmp_path):
    """Makes an attempt of a shell command."""

    def attempt(prompt, **members):
        job = {"jobId": "task-1/0", "taskId": "task-1", "job": 0, "attempt": 1, "prompt": prompt, "agent": "shell",
               "workers": 1, **members}  # fmt: skip
        settings = WorkerSettings(url=("http://x",), worker_id="w", work_dir=str(tmp_path), grace_seconds=0.2)
        removals = RemovalQueue()
        return Attempt(
            job, server.call, settings, lambda fence: AttemptFiles(("http://x",), "", fence, 1), SecretStore({}),
            MachineHealth(str(tmp_path)), removals, ServerLimits(), subscribe=server.subscribe,
        )  # fmt: skip

    return attempt


async def run(attempt, server):
    """Run an attempt; return the only report of its end."""
    async with asyncio.timeout(60):
        await attempt.run()
    (report,) = server.finishes
    return report


async def test_the_end_of_the_agent_is_reported(make, server):
    report = await run(make("echo hello; exit 3"), server)
    assert (report["outcome"], report["exitCode"], report["reason"]) == ("failed", 3, "exit_nonzero")
    assert server.events[0]["data"] == "hello\n"


@pytest.mark.parametrize("data", [b"junk", b"[1]", b'{"exit": "x"}', b"\xff" * 70_000])
async def test_an_unreadable_report_of_the_keeper_ends_the_attempt(make, server, monkeypatch, tmp_path, data):
    script = tmp_path / "keeper.py"
    script.write_text(f"import os, sys\nos.set_blocking(int(sys.argv[1]), False)\nos.write(int(sys.argv[1]), {data!r})")
    monkeypatch.setattr(process, "_KEEPER", str(script))
    report = await run(make("true"), server)
    assert (report["outcome"], report["reason"]) == ("failed", "worker_error")
    assert "report of its end cannot be read" in report["message"]


def broken(*_, **__):
    raise RuntimeError("it broke")


async def broken_later(*_):
    raise RuntimeError("it broke")


@pytest.mark.parametrize(
    ("owner", "name", "breaks"),
    [
        (EventPipe, "run", broken_later),
        (EventPipe, "_take", broken),
        (Masker, "feed", broken),
        (Turn, "_stop_process", broken_later),
        (attempt_module, "environment", broken),
        (Attempt, "_set_masks", broken),
        (agent_output, "OutputReader", broken),
        (agent_output, "exit_outcome", broken),
    ],
)
async def test_a_failed_part_ends_the_attempt_with_a_reason(make, server, monkeypatch, owner, name, breaks):
    monkeypatch.setattr(owner, name, breaks)
    mark = f"sleep 60 # of {os.getpid()}"  # other processes run tests beside this one
    sleep = "" if name == "exit_outcome" else mark
    began = time.monotonic()
    report = await run(make(f'echo x; echo {{}} >"$ADO_EVENTS"; {sleep}', env={"ADO_X": "secret-enough"}), server)
    assert (report["outcome"], report["reason"]) == ("failed", "worker_error")
    assert "it broke" in report["message"]
    assert time.monotonic() - began < 20
    assert not processes_with(mark)


async def test_a_message_of_bytes_from_the_system_is_sent_as_text(make, server, monkeypatch):
    monkeypatch.setattr(
        agent_output, "exit_outcome", lambda _: Outcome("failed", 1, "agent_error", os.fsdecode(b"b\xe9\0"))
    )
    report = await run(make("true"), server)
    assert report["message"] == "b\\xe9\\x00"


async def test_a_refused_report_is_sent_again_without_text_of_the_agent(make, server):
    server.refuses = lambda report: "result" in report
    async with asyncio.timeout(60):
        await make("exit 4").run()
    assert [report["exitCode"] for report in server.finishes] == [4, 4]
    assert server.finishes[1]["message"] == "exit code 4"


async def test_an_unreadable_result_does_not_block_the_end(make, server, monkeypatch):
    class AgentReader:
        session, reported, usage = None, {}, None

        @property
        def result(self):
            raise KeyError("text")

        def feed(self, line):
            return []

        def feed_stderr(self, line):
            return []

        def outcome(self, ended):
            return Outcome("succeeded", 0)

    monkeypatch.setattr(type(attempt_module.AGENTS["shell"]), "reader", lambda *_: AgentReader())
    report = await run(make("true"), server)
    assert report["outcome"] == "succeeded"
    assert "result" not in report


@pytest.mark.parametrize("session", ["../../etc", "a/b", "x" * 201, "", 5, None, {"a": 1}, "a\x00b"])
async def test_an_invalid_session_name_is_not_stored(make, session):
    attempt = make("true")
    attempt._note_event({"event": "session", "sessionId": session})
    assert attempt._session is None
    attempt._note_event({"event": "session", "sessionId": "0199-ab.c"})
    assert attempt._session == "0199-ab.c"


FED = {"requires": ["input:stdin"]}


async def test_an_agent_reads_its_input_page_by_page_to_its_end(make, server):
    server.input = os.urandom(600_000)
    report = await run(make("sha256sum", **FED), server)
    assert report["outcome"] == "succeeded"
    assert server.events[0]["data"].split()[0] == hashlib.sha256(server.input).hexdigest()
    assert server.asked == [0, 2**18, 2**19]


async def test_a_long_script_is_sent_before_the_input_and_consumes_none_of_it(make, server):
    server.input = b"the input"
    report = await run(make("cat\n: " + "x" * 150_000, **FED), server)
    assert (report["outcome"], server.events[0]["data"]) == ("succeeded", "the input")


async def test_an_agent_that_reads_no_input_ends(make, server):
    server.input = b"x" * 600_000
    report = await run(make("exec <&-; exit 3", **FED), server)
    assert report["exitCode"] == 3


async def test_a_failed_read_of_the_input_is_repeated(make, server):
    server.input = b"the input"
    server.trouble = [NoAnswer("http://x", "gone"), CallError("no", {"code": "UNAUTHORIZED"})]
    report = await run(make("cat", **FED), server)
    assert (report["outcome"], server.events[0]["data"]) == ("succeeded", "the input")
    assert server.asked == [0, 0, 0]


async def test_lost_input_fails_the_job_without_an_end_of_file(make, server):
    server.trouble = [CallError("gone", {"code": "CONFLICT", "reason": "input_lost"})]
    report = await run(make("trap 'exit 9' TERM; cat; echo end", **FED), server)
    said = [event["data"] for event in server.events if event.get("stream") != "stderr"]  # a shell may say Terminated
    assert (report["outcome"], report["reason"], said) == ("failed", "input_lost", [])


async def test_a_lost_attempt_reads_no_end_of_file(make, server):
    server.trouble = [CallError("gone", {"code": "CONFLICT", "reason": "lease_lost"})]
    attempt = make("cat; echo end", **FED)
    running = asyncio.create_task(attempt.run())
    while not server.asked:
        await asyncio.sleep(0)
    attempt.lose()
    await running
    assert (server.finishes, server.events) == ([], [])


def told(server):
    return "".join(event["data"] for event in server.events if event["type"] == "output")


WORDS = [{"messageId": "message-1", "text": "use tabs"}]


async def test_a_message_that_only_the_server_knows_when_the_turn_ends_is_given_before_the_finish(make, server):
    """The command for it is still on its way."""
    server.messages, server.fetches_before = WORDS, 1
    report = await run(make('{"say": "x"}', agent="scripted", messages=0), server)
    assert report["outcome"] == "succeeded"
    assert told(server) == "x\nheard: use tabs\n"
    assert server.calls.index("workers.delivered") < server.calls.index("workers.finish")
    assert server.messages == []


async def test_a_message_from_before_the_agents_start_comes_with_the_prompt(make, server):
    """The claim counted none: the message came after it, and its command before the claim's answer."""
    server.messages = WORDS
    report = await run(make('{"say": "x"}; {"exit": 3}'.replace("; ", "\n"), agent="scripted", messages=0), server)
    assert report["exitCode"] == 3  # there was no second turn
    assert server.messages == []


async def test_an_agent_that_failed_gets_no_further_turn(make, server):
    server.messages, server.fetches_before = WORDS, 1
    report = await run(make('{"exit": 3}', agent="scripted", messages=0), server)
    assert report["exitCode"] == 3
    assert "workers.delivered" not in server.calls


async def test_a_server_of_an_older_release_is_not_asked_for_messages(make, server):
    await run(make('{"say": "x"}', agent="scripted"), server)
    assert "workers.messages" not in server.calls


async def test_every_process_of_a_job_has_ports_that_no_other_job_has(make, server):
    """``ss`` is not everywhere, so the job looks at what it inherited: the socket that reserves its ports."""
    one, two = make("echo $ADO_PORT_BASE; ls -l /proc/self/fd"), make("echo $ADO_PORT_BASE", jobId="task-2/0")
    async with asyncio.timeout(60):
        await asyncio.gather(one.run(), two.run())
    written = "".join(event["data"] for event in server.events)
    ports = [int(line) for line in written.split() if line.isdigit() and len(line) == 5]
    assert abs(ports[0] - ports[1]) > 20
    assert "socket:" in written


async def test_a_job_without_free_ports_is_given_back_with_the_reason(make, server, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as program:
        monkeypatch.setattr("worker.allocation.bases", lambda *_: [program.getsockname()[1]])
        report = await run(make("true"), server)
    assert (report["outcome"], report["reason"]) == ("released", "worker_unfit")
    assert "all 1 ranges of ADO_JOB_PORTS are in use" in report["message"]
