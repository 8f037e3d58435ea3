"""Agents of the Agent Client Protocol: a transcript of opencode, and the bridge with an agent on the real SDK."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from worker.agents.acp import AcpAgent, configured
from worker.agents.base import Run
from worker.agents.gemini_cli import GeminiCli
from worker.agents.requests import PersonsAnswer
from worker.processes.process import ProcessEnd

TRANSCRIPT = Path(__file__).with_name("transcripts") / "acp-opencode.jsonl"
FAKE = str(Path(__file__).parents[3] / "support" / "acp_agent.py")


def conversations():
    """Return the lines of each process in the transcript."""
    found = []
    for line in map(json.loads, TRANSCRIPT.read_text().splitlines()):
        found += [[]] if line["dir"] == "spawn" else []
        found[-1].append(line)
    return found


def reader_of(approve):
    return AcpAgent(["x"]).reader(Run("x", Path("/job"), Path("/home"), approve=approve))


def heard(lines, code=0, **values):
    reader = AcpAgent(["opencode", "acp"]).reader(Run("x", Path("/job"), Path("/home"), **values))
    events = [event for line in lines for event in reader.feed(line)]
    return [event for event in events if event["event"] != "other"], reader, reader.outcome(ProcessEnd(exit_code=code))


def test_opencode_is_reported_in_the_common_events():
    events, reader, outcome = heard(conversations()[0])
    assert outcome.outcome == "succeeded"
    tools = [event for event in events if event["event"] == "tool_end"]
    assert [(tool["kind"], tool["title"], tool["ok"]) for tool in tools] == [
        ("edit", "stub-note.txt", True), ("bash", "echo hello-from-tool", True),
    ]  # fmt: skip
    assert tools[1]["exitCode"] == 0
    assert [event["event"] for event in events].count("tool_start") == 2
    assert reader.usage == {"inputTokens": 111, "outputTokens": 22}
    assert reader.result["text"].startswith("Stub final answer. users=1")


def test_a_cancelled_turn_and_a_failed_call_are_no_success():
    endings = [heard(lines, code=1)[2] for lines in conversations()[2:]]
    assert [(outcome.outcome, outcome.reason) for outcome in endings] == [("failed", "agent_error")] * len(endings)


@pytest.fixture
def bridge(tmp_path, acp_programs):
    """Hold a conversation with the fake agent."""

    def converse(prompt, permissions="all", session="-", anew="", *answers):
        lines = ({"prompt": prompt, "anew": anew, "takesWords": bool(answers)}, *answers)
        done = subprocess.run(
            [
                *acp_programs.command("bridge"),
                str(tmp_path),
                permissions,
                session,
                "--",
                *acp_programs.command("agent"),
            ],
            input="".join(json.dumps(line) + "\n" for line in lines),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return heard([json.loads(line) for line in done.stdout.splitlines()], done.returncode)

    return converse


def test_the_bridge_is_a_program_that_holds_a_conversation(tmp_path):
    command = [sys.executable, "-I", "-m", "worker.agents.acp_bridge", str(tmp_path), "all", "-", "--"]
    done = subprocess.run(
        [*command, sys.executable, FAKE],
        input=json.dumps({"prompt": "the task", "anew": ""}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    events, reader, outcome = heard([json.loads(line) for line in done.stdout.splitlines()], done.returncode)
    assert outcome.outcome == "succeeded"
    assert reader.session == "session-1"
    assert reader.result == {"text": "done with the task"}
    assert [event["decision"] for event in events if event["event"] == "permission"] == ["allowed"]


def test_a_command_without_permission_is_refused_and_reported(bridge):
    events, _, outcome = bridge("the task", "edits")
    assert [event["decision"] for event in events if event["event"] == "permission"] == ["denied"]
    assert (outcome.outcome, outcome.reason) == ("failed", "permission_denied")


@pytest.fixture
def talk(tmp_path, acp_programs):
    """Start the bridge, which takes words; return how to exchange a line, and what it wrote."""
    with contextlib.ExitStack() as started:

        def begin(permissions, prompt="the task"):
            command = acp_programs.command("bridge")
            command += [str(tmp_path), permissions, "-", "--", *acp_programs.command("agent")]
            process = started.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            say(process, {"prompt": prompt, "anew": "", "takesWords": True})
            return process

        yield begin


def say(process, line):
    process.stdin.write(json.dumps(line).encode() + b"\n")
    process.stdin.flush()


def read_until(process, reader, asked):
    """Feed a reader with lines until it has asked so many questions; return the events."""
    events = []
    while len(reader.requests) < asked:
        events += reader.feed(json.loads(process.stdout.readline()))
    return events


def end(process, reader):
    process.stdin.close()
    events = [event for line in process.stdout for event in reader.feed(json.loads(line))]
    return events, reader.outcome(ProcessEnd(process.wait(60)))


@pytest.mark.parametrize("approve", ["ask", "edits"])
@pytest.mark.parametrize(
    ("answer", "decision", "reason"),
    [
        (PersonsAnswer("allow", by="anna"), "allowed", None),
        (PersonsAnswer("deny", by="anna"), "denied", None),
        (PersonsAnswer(unanswered="too late"), "denied", "permission_denied"),
    ],
)
def test_an_answer_decides_and_only_a_missing_one_is_a_failure(talk, approve, answer, decision, reason):
    process, reader = talk(approve), reader_of(approve)
    read_until(process, reader, 1)
    (request,) = reader.requests
    (question,) = request.questions
    assert (question.kind, question.tool, question.input) == ("permission", "execute", {"command": "make"})
    assert question.text == "use execute: make"
    process.stdin.write(request.reply([answer]).encode())
    process.stdin.flush()
    events, outcome = end(process, reader)
    assert [event["decision"] for event in events if event["event"] == "permission"] == [decision]
    assert (outcome.reason, outcome.outcome) == (reason, "failed" if reason else "succeeded")


def test_an_agent_that_may_only_plan_asks_nobody_and_does_not_fail(talk):
    process, reader = talk("none", "mode?"), reader_of("none")
    events, outcome = end(process, reader)
    assert reader.requests == []
    assert [event["decision"] for event in events if event["event"] == "permission"] == ["denied"]
    assert outcome.outcome == "succeeded"


def test_a_request_after_the_end_of_stdin_is_refused(talk):
    process, reader = talk("edits"), reader_of("edits")
    events, outcome = end(process, reader)
    assert [event["decision"] for event in events if event["event"] == "permission"] == ["denied"]
    assert outcome.reason == "permission_denied"


def test_an_answer_to_nothing_changes_nothing(talk):
    process, reader = talk("edits"), reader_of("edits")
    read_until(process, reader, 1)
    say(process, {"key": "unknown", "allow": True})
    for _ in range(2):
        process.stdin.write(reader.requests[0].reply([PersonsAnswer("deny")]).encode())
    process.stdin.flush()
    events, _ = end(process, reader)
    assert [event["decision"] for event in events if event["event"] == "permission"] == ["denied"]


def test_a_tool_without_a_kind_is_named_by_its_title():
    reader = reader_of("ask")
    tool = {"title": "mcp: delete", "content": [{"type": "text"}]}
    reader.feed({"dir": "ask", "data": {"key": "k", "tool": tool}})
    question = reader.requests[0].questions[0]
    assert (question.tool, question.text, question.input) == (
        "mcp: delete",
        "use mcp: delete: mcp: delete",
        [{"type": "text"}],
    )


def test_events_replayed_by_a_loaded_session_are_not_repeated(bridge):
    events, reader, outcome = bridge("more", session="session-7")
    assert (reader.session, outcome.outcome) == ("session-7", "succeeded")
    assert "an old answer" not in json.dumps(events)


def test_each_line_of_words_is_another_turn_of_the_same_session(bridge):
    events, reader, outcome = bridge("the task", "all", "-", "", {"words": "use\ntabs", "key": "k1"})
    assert outcome.outcome == "succeeded"
    assert [event["message"] for event in events if event["event"] == "result"] == [
        "done with the task", "done with use\ntabs",
    ]  # fmt: skip
    assert reader.confirmed == ["k1"]


def test_an_error_of_the_service_is_reported(bridge):
    _, _, outcome = bridge("fail")
    assert (outcome.outcome, outcome.reason) == ("failed", "rate_limited")


def test_any_agent_can_be_configured():
    agents = configured(["goose=goose acp --quiet", "", "opencode=opencode acp"])
    assert set(agents) == {"goose", "opencode"}
    assert agents["goose"].needs.program == "goose"
    with pytest.raises(OSError, match="its own settings"):
        agents["goose"].launch(Run("x", Path("/job"), Path("/home"), args={"model": "m"}))


def test_a_missing_session_is_replaced_by_a_new_one_with_a_summary(bridge):
    _, reader, outcome = bridge("go on", session="gone", anew="you began this before")
    assert outcome.outcome == "succeeded"
    assert reader.session == "session-1"
    assert "you began this before" in reader.result["text"]


def test_the_mode_of_the_permissions_is_set(bridge):
    modes = {"all": "bypassPermissions", "edits": "acceptEdits", "ask": "default", "none": "plan"}
    for permissions, mode in modes.items():
        _, reader, _ = bridge("mode?", permissions=permissions)
        assert f"mode {mode}" in reader.result["text"]


END = {"dir": "prompt_result", "data": {"stopReason": "end_turn"}}
SPEAKS = {
    "dir": "update",
    "data": {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "done"}},
}


def test_a_turn_without_text_or_tools_is_a_failure():
    assert heard([END])[2].reason == "no_result"
    assert heard([SPEAKS, END])[2].outcome == "succeeded"


def test_a_turn_without_tokens_is_a_failure():
    silent = {
        "dir": "prompt_result",
        "data": {"stopReason": "end_turn", "usage": {"inputTokens": 0, "outputTokens": 0}},
    }
    assert heard([SPEAKS, silent])[2].reason == "no_result"


def test_a_turn_with_a_failed_model_call_is_a_failure():
    failed = {"dir": "prompt_result", "data": {"stopReason": "end_turn", "_meta": {"threadStatus": "systemError"}}}
    outcome = heard([SPEAKS, failed])[2]
    assert (outcome.outcome, outcome.reason) == ("failed", "agent_error")


def test_missing_credentials_have_a_code_of_their_own():
    error = {"dir": "prompt_error", "data": {"code": -32000, "msg": "Authentication required", "data": ""}}
    assert heard([error], code=1)[2].reason == "auth"


def test_tokens_and_dollars_are_read_from_the_places_of_each_agent():
    cost = {"dir": "update", "data": {"sessionUpdate": "usage_update", "cost": {"amount": 0.25, "currency": "USD"}}}
    quota = {"quota": {"token_count": {"input_tokens": 333, "output_tokens": 66}}}
    end = {"dir": "prompt_result", "data": {"stopReason": "end_turn", "_meta": quota}}
    assert heard([SPEAKS, cost, end])[1].usage == {"inputTokens": 333, "outputTokens": 66, "costUsd": 0.25}
    assert heard([SPEAKS, cost])[1].usage == {"costUsd": 0.25}  # a turn that is cut short has cost as much


def test_dollars_of_a_resumed_session_count_from_the_last_attempt():
    cost = {"dir": "update", "data": {"sessionUpdate": "usage_update", "cost": {"amount": 0.75, "currency": "USD"}}}
    _, reader, _ = heard([cost, SPEAKS, END], reported={"costUsd": 0.5})
    assert reader.usage == {"costUsd": 0.25}
    assert reader.reported == {"costUsd": 0.75}


@pytest.mark.parametrize("agent", [AcpAgent(["gemini", "--acp"]), GeminiCli()])
def test_a_directory_without_sessions_has_no_session(tmp_path, agent):
    chats = tmp_path / ".gemini/tmp/job/chats"
    chats.mkdir(parents=True)
    (tmp_path / ".gemini/projects.json").write_text("{}")
    (chats.parent / ".project_root").write_text("/job")
    assert agent.session_files(tmp_path, "0123456789") == []
    (chats / "session-01234567.json").write_text("{}")
    assert len(agent.session_files(tmp_path, "0123456789")) == 3
