"""Whatever a log holds, the command line writes it without a traceback and without harm to a terminal."""

import base64
import json
import re

from hypothesis import strategies as st

from cli.render.lines import LastLines, Lines, Style, payload

from .inputs import CHUNKS, EVENT_MEMBERS, JSON_VALUES

HARMLESS = re.compile(rb"\x1b\[[0-9;:]*[mK]|[\t\r\n]")
CONTROL = re.compile(rb"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]")
AT = "2026-01-01T00:00:00+00:00"


def output_event(job, stream, data):
    """Return an output event as the wire has it."""
    head = {"type": "output", "job": job, "attempt": 1, "at": AT, "storedAt": AT, "stream": stream}
    data = data.whole()
    try:
        return {**head, "data": data.decode()}
    except UnicodeDecodeError:
        return {**head, "data": base64.b64encode(data).decode(), "encoding": "base64"}


def agent_event(job, members):
    """Return an agent event; JSON that no server could store is left out."""
    known = json.loads(json.dumps(members).encode("utf-8", "replace").decode())
    return {**known, "type": "agent", "job": job, "attempt": 1, "at": AT, "storedAt": AT}


JOBS = st.integers(0, 3)
LOGS = st.lists(
    st.one_of(
        st.builds(output_event, JOBS, st.sampled_from(["stdout", "stderr"]), CHUNKS),
        st.builds(
            lambda job, event, members: agent_event(job, {**members, "event": event}),
            JOBS,
            st.sampled_from(["text_delta", "text", "tool_start", "tool_end", "retry", "permission", "error", "result"]),
            EVENT_MEMBERS,
        ),
        st.builds(
            lambda job, kind: {"type": kind, "job": job, "attempt": 1, "at": AT, "reason": "x", "nextAttempt": 2},
            JOBS,
            st.sampled_from(["requeued", "released", "finished"]),
        ),
        st.builds(lambda message: {"type": "progress", "job": 0, "attempt": 1, "message": message}, JSON_VALUES),
    ),
    max_size=12,
)
TERMINALS = st.sampled_from([frozenset(), frozenset({1}), frozenset({2}), frozenset({1, 2})])
STYLES = st.builds(Style, prefixed=st.booleans(), terminals=TERMINALS, coloured=st.booleans(), timestamps=st.booleans())


def test_rendering_never_fails_or_controls_a_terminal(fuzzer):
    """Any log in any style: no exception; a terminal gets no control sequence but colours and moves within a line."""
    fuzzer.run(st.tuples(LOGS, STYLES), render, batch=200, shrink=True)


def render(case):
    """Write one log in one style."""
    events, style = case
    lines = Lines(style)
    pieces = [piece for event in events for piece in lines.feed(event)] + list(lines.rest())
    last = LastLines(3)
    last.add(pieces)
    assert len(last.pieces()) <= 3
    for fd in style.terminals:
        shown = b"".join(data for number, data in pieces if number == fd)
        assert not CONTROL.search(HARMLESS.sub(b"", shown)), shown[:300]
    if 1 not in style.terminals and not style.whole and not any(event["type"] == "agent" for event in events):
        wanted = b"".join(payload(event) for event in events if event.get("stream") == "stdout")
        assert b"".join(data for number, data in pieces if number == 1) == wanted
