"""The request that tells a target: its body for each format, and its signature.

Signatures are those of the Standard Webhooks specification 1.0 (standardwebhooks.com): HMAC-SHA256 over the id, the
time and the body. The id is the same at each try, so a receiver that keeps ids handles a notification once.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from typing import Any

import orjson

from db.notifications import TargetFormat

_PREFIX = "whsec_"
_KEY_BYTES = 32
_JSON = "application/json"
_SLACK_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def new_secret() -> str:
    """Return a new key for signatures, as receivers' libraries take it."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a body that is sent at ``timestamp``, in seconds since 1970."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = secret.encode()
    signed = hmac.digest(key, b"%s.%d.%s" % (message_id.encode(), timestamp, body), "sha256")
    return f"v1,{base64.b64encode(signed).decode()}"


def request(
    format: TargetFormat, secret: str, message_id: str, timestamp: int, notification: dict[str, Any]
) -> tuple[dict[str, str], bytes]:
    """Return headers and body of the request that carries a notification."""
    headers = {"content-type": _JSON}
    if format == "json":
        body = orjson.dumps(notification)
    elif format == "slack":
        body = orjson.dumps({"text": sentence(notification).translate(_SLACK_ESCAPES)})
    else:
        body = sentence(notification).encode()
        headers = {"content-type": "text/plain; charset=utf-8", "title": "ado"}
    headers |= {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret, message_id, timestamp, body),
    }
    return headers, body


def sentence(notification: dict[str, Any]) -> str:
    """Return what a person reads."""
    data, kind = notification["data"], notification["type"]
    task = data.get("taskId")
    prompt = f": {first_line}" if (first_line := _first_line(data.get("promptStart"))) else ""
    if kind == "question.asked":
        question = data["question"]
        choices = "|".join(option["id"] for option in question["options"]) or "TEXT"
        command = f"ado answer {question['questionId']} {choices}"
        return f"{task}/{question['job']} asks: {question['text']}\n{command}"
    if kind == "test":
        return "ado: this is a test"
    status = kind.removeprefix("task.")
    reason = f" ({data['reason']})" if data.get("reason") else ""
    return f"{task} {status}{reason}{prompt}\nado tasks show {task}"


def _first_line(text: str | None) -> str:
    return next(iter((text or "").splitlines()), "").strip()
