"""Words for an agent besides its prompt: messages, and what its worker has to say, such as a check that failed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from worker.agents.base import Agent, AgentReader, Run, valid_session


def with_words(agent: Agent, prompt: str, words: Sequence[str]) -> str:
    """Return a prompt with words after it; for ``scripted`` they become steps that write them."""
    if agent.converses:
        return "\n\n".join(filter(None, [prompt, *words]))
    return "\n".join([prompt, *(json.dumps({"say": f"heard: {text}"}) for text in words)])


def next_turn(agent: Agent, run: Run, words: Sequence[str], reader: AgentReader | None) -> Run:
    """Return the run of the turn after ``run``, whose reader is given: the agent's session goes on with these words.

    Without a session that can be resumed, a new one begins with the task's prompt and the words.
    """
    session = valid_session(reader.session) if reader else None
    anew, said = with_words(agent, run.anew or run.prompt, words), with_words(agent, "", words)
    prompt = said if session or not agent.converses else anew
    reported = reader.reported if reader else {}
    return replace(run, prompt=prompt, anew=anew, session=session, reported=reported, has_begun=True)
