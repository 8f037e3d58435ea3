"""The bodies of notifications and their signatures, checked by the library of the specification."""

from datetime import UTC, datetime

import orjson
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.notifications.webhook import new_secret, request, sentence

ENDED = {"type": "task.failed", "data": {"taskId": "task-1", "promptStart": "do <b>&\nmore", "reason": "timed_out"}}
ASKED = {
    "type": "question.asked",
    "data": {
        "taskId": "task-1",
        "question": {"questionId": "question-2", "job": 0, "text": "which?", "options": [{"id": "a"}, {"id": "b"}]},
    },
}


def now():
    return int(datetime.now(UTC).timestamp())


def test_a_receiver_verifies_the_signature():
    secret = new_secret()
    headers, body = request("json", secret, "notification-1", now(), ENDED)
    assert Webhook(secret).verify(body, headers) == ENDED
    for changed in (body + b" ", body.replace(b"task-1", b"task-2")):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(changed, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers | {"webhook-id": "notification-2"})


def test_secrets_differ():
    assert len({new_secret() for _ in range(100)}) == 100


def test_slack_gets_a_text_in_which_nothing_is_markup():
    headers, body = request("slack", new_secret(), "n", 1, ENDED)
    assert headers["content-type"] == "application/json"
    assert orjson.loads(body) == {"text": "task-1 failed (timed_out): do &lt;b&gt;&amp;\nado tasks show task-1"}


def test_ntfy_gets_plain_text():
    headers, body = request("ntfy", new_secret(), "n", 1, ASKED | {"data": ASKED["data"]})
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert body.decode() == "task-1/0 asks: which?\nado answer question-2 a|b"


@pytest.mark.parametrize("prompt", [None, "", "\n\n", "\u2028"])
def test_an_empty_prompt_leaves_nothing_behind(prompt):
    ended = {"type": "task.succeeded", "data": {"taskId": "task-1", "promptStart": prompt}}
    assert sentence(ended) == "task-1 succeeded\nado tasks show task-1"
