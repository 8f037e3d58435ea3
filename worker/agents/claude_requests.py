"""What claude asks its worker by a ``control_request``, and the ``control_response`` on its stdin.

It asks to use a tool. One tool, ``AskUserQuestion``, asks the user questions of claude's own: its permission carries
their answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worker.agents.requests import AgentQuestion, AgentRequest, PersonsAnswer, use_of

_ASKER = "AskUserQuestion"
_ID_CHARS, _LABEL_CHARS = 200, 1000
"""The longest id and label of an option that a server takes."""


def request_of(line: Mapping[str, Any], title: str, decided: Callable[[], object]) -> AgentRequest:
    """Return what a line asks; ``decided`` is called once a person has allowed or refused a tool."""
    request, key = line["request"], str(line["request_id"])
    if request.get("subtype") != "can_use_tool":
        return AgentRequest([], lambda _: _refuse(key, str(request.get("subtype"))))
    values = request.get("input") or {}
    if request.get("tool_name") == _ASKER and (asked := _questions_of(key, values)):
        return AgentRequest(asked, lambda answers: _reply(key, _chosen(values, answers)))

    def reply(answers: Sequence[PersonsAnswer]) -> str:
        if not answers[0].unanswered:
            decided()
        return _reply(key, _permission(answers[0]))

    return AgentRequest([use_of(key, str(request.get("tool_name")), title, values)], reply)


def _refuse(key: str, subtype: str) -> str:
    """Answer what only claude's own programs can; it would wait for ever otherwise."""
    answer = {"subtype": "error", "request_id": key, "error": f"ado does not answer {subtype}"}
    return json.dumps({"type": "control_response", "response": answer}) + "\n"


def _reply(key: str, response: Mapping[str, Any]) -> str:
    answer = {"subtype": "success", "request_id": key, "response": response}
    return json.dumps({"type": "control_response", "response": answer}) + "\n"


def _permission(answer: PersonsAnswer) -> dict[str, Any]:
    """Allow or refuse a tool. The input is not repeated: the worker knows it only with its secrets masked."""
    return {"behavior": "allow"} if answer.allows else {"behavior": "deny", "message": answer.refusal}


def _questions_of(key: str, values: Mapping[str, Any]) -> list[AgentQuestion]:
    """Return the questions of the tool for questions; an empty list if they have another form than is known here."""
    try:
        return [_question(f"{key}:{number}", item) for number, item in enumerate(values["questions"])]
    except (AttributeError, LookupError, TypeError):
        return []


def _question(key: str, item: Mapping[str, Any]) -> AgentQuestion:
    """Return one question. Where several options may be chosen, the answer is a text."""
    options = [
        {"id": option["label"][:_ID_CHARS], "label": f"{option['label']}: {option.get('description')}"[:_LABEL_CHARS]}
        for option in item["options"]
    ]
    if not item.get("multiSelect"):
        return AgentQuestion(key, "choice", item["question"], options=options)
    labels = ", ".join(option["id"] for option in options)
    return AgentQuestion(key, "text", f"{item['question']} (one or more of: {labels})")


def _chosen(values: Mapping[str, Any], answers: Sequence[PersonsAnswer]) -> dict[str, Any]:
    """Allow the tool for questions with the answers; refuse it if one is missing."""
    missing = next((answer for answer in answers if answer.unanswered), None)
    if missing is not None:
        return {"behavior": "deny", "message": missing.refusal}
    texts = [answer.text if answer.choice is None else answer.choice for answer in answers]
    named = {item["question"]: text for item, text in zip(values["questions"], texts, strict=True)}
    return {"behavior": "allow", "updatedInput": {**values, "answers": named}}
