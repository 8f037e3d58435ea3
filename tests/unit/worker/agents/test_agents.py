"""Transcripts of the real programs: what their lines mean, and how each run ended.

Recorded with claude-code 2.1.330, gemini-cli 0.61.0 and codex 0.169.0 against a stub of the models' services; the first
line of each has the command, its exit code and its signal.
"""

import json
import signal
from pathlib import Path

import pytest

from worker.agents import AGENTS
from worker.agents.base import Run
from worker.processes.process import ProcessEnd

TRANSCRIPTS = Path(__file__).with_name("transcripts")
NAMES = {"claude": "claude-code", "gemini": "gemini-cli", "codex": "codex"}


def replay(name, **values):
    """Return the events and the outcome of a transcript, and its reader."""
    meta, *lines = [json.loads(line) for line in (TRANSCRIPTS / f"{name}.jsonl").read_text().splitlines()]
    code = meta["_meta"]["rc"]
    reader = AGENTS[NAMES[name.split("-")[0]]].reader(Run("hello", Path("/job"), Path("/home"), **values))
    found = [event for line in lines for event in reader.feed(line)]
    ended = ProcessEnd(exit_code=code) if code >= 0 else ProcessEnd(signal=-code)
    return found, reader.outcome(ended), reader


def kinds(found):
    """Return the names of events, a run of equal ones once, without those that say nothing."""
    names = [event["event"] for event in found if event["event"] != "other"]
    return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]


TOOL = ["tool_start", "tool_end"]
WORDS = ["text_delta", "text"]
END = ["usage", "result"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("claude-text", ["session", "text", *END]),
        ("claude-tool", ["session", *WORDS, *TOOL, *WORDS, *TOOL, *WORDS, *END]),
        ("claude-tool-denied", ["session", "text", TOOL[0], "permission", TOOL[1], "text", *TOOL, "text", *END]),
        ("claude-err401", ["session", "retry", "error", *END]),
        ("claude-err429x2", ["session", "retry", "text", *END]),
        ("claude-midfail", ["session", "text", *END]),
        ("claude-sigterm-tool", ["session", "text", *TOOL]),
        ("gemini-text", ["session", "text_delta", "text", *END]),
        ("gemini-tool", ["session", *WORDS, *TOOL, *WORDS, *TOOL, *WORDS, *END]),
        ("gemini-err401", ["session", *END]),
        ("gemini-midfail", ["session", "text_delta", "text", "error", *END]),
        ("gemini-sigterm-stream", ["session", "text_delta"]),
        ("codex-text", ["session", "error", "text", *END]),
        ("codex-tool", ["session", "error", "text", *TOOL, "text", *TOOL, "text", *END]),
        ("codex-err401", ["session", "error", "retry", "error", "result"]),
        ("codex-midfail", ["session", "error", "retry", "error", "result"]),
        ("codex-sigterm-tool", ["session", "error", "text", "tool_start"]),
    ],
)  # fmt: skip
def test_every_agent_is_reported_in_the_common_events(name, expected):
    assert kinds(replay(name)[0]) == expected


@pytest.mark.parametrize(
    ("name", "outcome", "reason", "code"),
    [
        ("claude-text", "succeeded", None, 0),
        ("claude-tool", "succeeded", None, 0),
        ("claude-tool-denied", "failed", "permission_denied", 0),
        ("claude-err401", "failed", "auth", 1),
        ("claude-err429x2", "succeeded", None, 0),
        ("claude-midfail", "succeeded", None, 0),
        ("claude-resume-after-kill", "succeeded", None, 0),
        ("claude-sigterm-tool", "failed", "no_result", 143),
        ("gemini-text", "succeeded", None, 0),
        ("gemini-tool", "succeeded", None, 0),
        ("gemini-err401", "failed", "auth", 145),
        ("gemini-midfail", "failed", "agent_error", 0),
        ("gemini-sigterm-stream", "failed", "no_result", 0),
        ("codex-text", "succeeded", None, 0),
        ("codex-tool", "succeeded", None, 0),
        ("codex-err401", "failed", "auth", 1),
        ("codex-midfail", "failed", "agent_error", 1),
        ("codex-sigterm-tool", "failed", "no_result", 128 + signal.SIGTERM),
    ],
)
def test_a_run_is_judged_by_its_result_and_its_exit_code(name, outcome, reason, code):
    judged = replay(name)[1]
    assert (judged.outcome, judged.reason, judged.exit_code) == (outcome, reason, code)
    assert judged.message or outcome == "succeeded"


@pytest.mark.parametrize("name", ["claude-text", "gemini-text", "codex-text"])
def test_a_result_of_success_does_not_override_an_exit_code(name):
    reader = replay(name)[2]
    judged = reader.outcome(ProcessEnd(exit_code=3))
    assert (judged.outcome, judged.reason, judged.exit_code) == ("failed", "exit_nonzero", 3)
    assert reader.outcome(ProcessEnd(signal=9)).reason == "exit_nonzero"
    assert reader.outcome(ProcessEnd(error="not there")).reason == "start_failed"


@pytest.mark.parametrize("name", ["claude-tool", "gemini-tool", "codex-tool"])
def test_tools_are_named_by_their_kind(name):
    ended = [event for event in replay(name)[0] if event["event"] == "tool_end"]
    assert all(event["ok"] for event in ended)
    assert ended[-1]["title"] == "echo hello-from-tool"
    assert (ended[-1]["kind"], ended[-1]["exitCode"], ended[-1]["output"].strip()) == ("bash", 0, "hello-from-tool")
    if name != "codex-tool":  # its model had no tool but the shell
        assert (ended[0]["kind"], ended[0]["title"], ended[0]["added"]) == ("edit", "stub-note.txt", 1)


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("claude-tool", {"inputTokens": 333, "outputTokens": 66, "costUsd": 0.002652}),
        ("gemini-tool", {"inputTokens": 333, "outputTokens": 66}),
        ("codex-tool", {"inputTokens": 333, "outputTokens": 66}),
    ],
)
def test_what_a_run_used_is_summed_up(name, usage):
    found, _, reader = replay(name)
    assert usage.items() <= reader.usage.items()
    assert next(event for event in found if event["event"] == "usage") == {"event": "usage", **reader.usage}


def test_the_turns_of_one_process_are_counted_together_and_each_message_is_heard():
    found, outcome, reader = replay("claude-two-turns")
    assert outcome.outcome == "succeeded"
    assert [event["ok"] for event in found if event["event"] == "result"] == [True, True]
    assert (reader.usage["inputTokens"], reader.usage["outputTokens"]) == (222, 44)
    assert reader.usage["costUsd"] == pytest.approx(0.001768)
    assert reader.confirmed == ["e1ef1220-c4c4-493e-bb28-89ece5d4f874", "064c2480-f597-4703-a85e-11fd190508e8"]


def test_the_last_turn_decides_what_was_refused():
    lines = [json.loads(line) for line in (TRANSCRIPTS / "claude-tool-denied.jsonl").read_text().splitlines()[1:]]
    again = [json.loads(line) for line in (TRANSCRIPTS / "claude-text.jsonl").read_text().splitlines()[1:]]
    reader = AGENTS["claude-code"].reader(Run("hello", Path("/job"), Path("/home")))
    for line in lines:
        reader.feed(line)
    assert reader.outcome(ProcessEnd(exit_code=0)).reason == "permission_denied"
    for line in again:
        reader.feed(line)
    assert reader.outcome(ProcessEnd(exit_code=0)).outcome == "succeeded"


def test_a_resumed_run_counts_only_its_own_usage():
    first = replay("claude-session1")[2]
    second = replay("claude-session2-resume", session=first.session, reported=first.reported)[2]
    assert second.session == first.session
    assert second.usage["costUsd"] == pytest.approx(first.usage["costUsd"])
    assert second.reported["costUsd"] == pytest.approx(2 * first.usage["costUsd"])
    first = replay("codex-session1")[2]
    second = replay("codex-session2-resume", session=first.session, reported=first.reported)[2]
    assert second.session == first.session
    assert (second.usage["inputTokens"], second.usage["outputTokens"]) == (111, 22)


def test_a_restarted_sum_counts_by_itself():
    """After kill -9 claude-code does not know what the session had cost."""
    reader = replay("claude-resume-after-kill", session="x", reported={"costUsd": 5.0})[2]
    assert reader.usage["costUsd"] == pytest.approx(0.000884)


def test_text_that_was_streamed_is_marked():
    streamed = [event["streamed"] for event in replay("claude-tool")[0] if event["event"] == "text"]
    assert streamed == [True, True, True]
    assert [event["streamed"] for event in replay("claude-text")[0] if event["event"] == "text"] == [False]


def test_a_refusal_does_not_count_when_the_tool_was_allowed_later():
    reader = AGENTS["claude-code"].reader(Run("x", Path("/job"), Path("/home")))
    reader.feed({"type": "system", "subtype": "permission_denied", "tool_name": "Bash", "tool_use_id": "1"})
    use = {"type": "tool_use", "id": "2", "name": "Bash", "input": {"command": "make"}}
    reader.feed({"type": "assistant", "message": {"content": [use]}})
    done = {"type": "tool_result", "tool_use_id": "2", "content": "ok"}
    reader.feed({"type": "user", "message": {"content": [done]}})
    reader.feed(
        {"type": "result", "subtype": "success", "permission_denials": [{"tool_name": "Bash", "tool_use_id": "1"}]}
    )
    assert reader.outcome(ProcessEnd(exit_code=0)).outcome == "succeeded"


def test_retries_of_gemini_are_read_from_its_stderr():
    reader = AGENTS["gemini-cli"].reader(Run("x", Path("/job"), Path("/home")))
    (event,) = reader.feed_stderr("Attempt 1 failed with status 429. Retrying with backoff... _ApiError: {}")
    assert (event["event"], event["attempt"], event["status"]) == ("retry", 1, 429)
    assert reader.feed_stderr("    at async retryWithBackoff") == []
    assert reader.outcome(ProcessEnd(exit_code=0)).reason == "rate_limited"


def fresh(name):
    return AGENTS[name].reader(Run("x", Path("/job"), Path("/home")))


def failure(reader):
    """Return the reason of a failed run, and about how long its agent was told to wait."""
    outcome = reader.outcome(ProcessEnd(exit_code=1))
    return outcome.reason, None if outcome.after_seconds is None else round(outcome.after_seconds, 1)


def test_claude_says_in_its_retries_how_long_it_waits():
    reader = fresh("claude-code")
    line = {"type": "system", "subtype": "api_retry", "attempt": 1, "max_retries": 2, "retry_delay_ms": 4109758,
            "error_status": 429, "error": "rate_limit"}  # fmt: skip
    (event,) = reader.feed(line)
    assert (event["event"], event["status"], event["delaySeconds"]) == ("retry", 429, 4109.758)
    assert failure(reader) == ("rate_limited", 4109.8)


def test_claude_says_when_the_limit_of_a_subscription_is_over(monkeypatch):
    monkeypatch.setattr("worker.agents.claude_code.time.time", lambda: 1795728161.0)
    reader = fresh("claude-code")
    limit = {"status": "rejected", "resetsAt": 1795731761, "rateLimitType": "five_hour", "isUsingOverage": False}
    reader.feed({"type": "rate_limit_event", "rate_limit_info": limit})
    text = "You've hit your 5-hour limit · resets 10:22pm (UTC)"
    reader.feed({"type": "result", "subtype": "success", "is_error": True, "api_error_status": 429, "result": text})
    assert failure(reader) == ("rate_limited", 3600)


def test_a_limit_of_a_subscription_that_is_only_near_delays_nothing():
    reader = fresh("claude-code")
    reader.feed({"type": "rate_limit_event", "rate_limit_info": {"status": "allowed_warning", "resetsAt": 2**33}})
    reader.feed({"type": "result", "subtype": "success", "is_error": True, "api_error_status": 429, "result": "later"})
    assert failure(reader) == ("rate_limited", None)


def test_codex_says_how_long_a_limit_lasts_in_its_words():
    reader, words = fresh("codex"), "rate limit exceeded: Rate limit reached for m. Please try again in 11.054s."
    (event,) = reader.feed({"type": "error", "message": f"Reconnecting... 1/5 ({words})"})
    assert (event["status"], event["delaySeconds"]) == (429, 11.054)
    reader.feed({"type": "turn.failed", "error": {"message": words}})
    assert failure(reader) == ("rate_limited", 11.1)
    reader = fresh("codex")
    reader.feed({"type": "turn.failed", "error": {"message": "You have hit your usage limit. Try again in 2 hours."}})
    assert failure(reader) == ("rate_limited", 7200)


def test_gemini_says_how_long_a_limit_lasts_unless_it_is_a_daily_quota():
    reader = fresh("gemini-cli")
    quota = "You exceeded your current quota. Please retry in"
    (event,) = reader.feed_stderr(f"Attempt 1 failed: {quota} 12.5s.. Retrying after 13498ms...")
    assert (event["status"], event["delaySeconds"]) == (429, 12.5)

    def failed(message):
        reader = fresh("gemini-cli")
        reader.feed({"type": "init", "session_id": "s"})
        reader.feed({"type": "result", "status": "error", "error": {"message": message}})
        return failure(reader), reader.session

    assert failed(f"[API Error: {quota} 3599.5s.]") == (("rate_limited", 3599.5), None)
    assert failed("[API Error: You have exhausted your daily quota.]") == (("rate_limited", None), None)


def test_a_session_of_gemini_with_an_answer_or_of_an_earlier_attempt_is_kept_after_an_error():
    for resumed, lines in ((None, [{"type": "message", "role": "assistant", "content": "hi"}]), ("s", [])):
        reader = AGENTS["gemini-cli"].reader(Run("x", Path("/job"), Path("/home"), session=resumed))
        ends = {"type": "result", "status": "error", "error": {"message": "quota"}}
        for line in ({"type": "init", "session_id": "s"}, *lines, ends):
            reader.feed(line)
        assert reader.session == "s"


def test_codex_is_started_without_its_wrapper_script(tmp_path, monkeypatch):
    from worker.agents.codex import native

    package = tmp_path / "node_modules/@openai/codex"
    program = tmp_path / "node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex"
    for file in (package / "bin/codex.js", program):
        file.parent.mkdir(parents=True)
        file.touch(0o755)
    link = tmp_path / "codex"
    link.symlink_to(package / "bin/codex.js")
    assert native(link)[0] == str(program)
    program.unlink()
    assert native(link)[0] == str(package / "bin/codex.js")
