"""Notifications with a real receiver that verifies each signature, and replicas that are killed."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from standardwebhooks import Webhook
from support.program import Cluster, until


class Receiver:
    """A receiver of webhooks: it keeps what it was sent, and answers as it is told."""

    def __init__(self):
        self.received, self.status, self.secret = [], 204, None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["content-length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    return  # its sender was killed before it had sent all
                if outer.secret:
                    Webhook(outer.secret).verify(body, dict(self.headers))
                outer.received.append((self.headers["webhook-id"], body, outer.status))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def ids(self, status=204):
        return [name for name, _, answered in self.received if answered == status]

    @contextmanager
    def running(self):
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            thread.join()
            self.server.server_close()


@pytest.fixture
def receiver():
    with Receiver().running() as made:
        yield made


@pytest.fixture
def cluster(dsn, home):
    """Two replicas that may send to loopback."""
    made = Cluster(dsn, home, env={"ADO_NOTIFY_HOSTS": "127.0.0.1"})
    try:
        yield made.add_replicas(2)
    finally:
        made.close()


def test_a_person_is_told_of_a_question_and_of_the_end(cluster, receiver):
    made = cluster.ado("notify", "add", receiver.url, "-o", "json", check=0)
    target = json.loads(made.stdout)
    receiver.secret = target["secret"]
    cluster.ado("notify", "test", target["targetId"], check=0)
    until(receiver.ids, "the test")
    cluster.add_worker("w1")
    cluster.ado("run", "--remote", "--agent", "shell", "exit 3", check=3)
    until(lambda: len(receiver.ids()) == 2, "the end to be told")
    test, failed = [json.loads(body) for _, body, _ in receiver.received]
    assert test["type"] == "test"
    assert (failed["type"], failed["data"]["taskId"], failed["data"]["reason"]) == (
        "task.failed", "task-1", "exit_nonzero",
    )  # fmt: skip
    cluster.ado("run", "--remote", "--agent", "shell", "--detach", "ado ask which? --option a --option b", check=0)
    until(lambda: len(receiver.ids()) == 3, "the question to be told")
    asked = json.loads(receiver.received[-1][1])
    assert (asked["type"], asked["data"]["question"]["questionId"]) == ("question.asked", "question-1")
    state = "select from ado.notifications where state <> 'delivered'"
    until(lambda: not cluster.sql(state), "the deliveries to be stored")
    listed = json.loads(cluster.ado("notify", "-o", "json", check=0).stdout)["items"]
    assert [(item["targetId"], item["delivered"], item["waiting"]) for item in listed] == [("notify-1", 2, 0)]
    assert "secret" not in json.dumps(listed)
    cluster.ado("notify", "remove", "notify-1", check=0)
    assert b"no targets" in cluster.ado("notify", check=0).stderr


def test_a_receiver_that_fails_is_tried_again_with_the_same_id(cluster, receiver):
    cluster.ado("notify", "add", receiver.url, "--on", "cancelled", check=0)
    receiver.status = 500
    cluster.ado("run", "--remote", "--agent", "shell", "--detach", "x", check=0)
    cluster.ado("cancel", "task-1", check=0)
    until(lambda: receiver.ids(500), "the first try")
    until(lambda: cluster.sql("select error from ado.notifications") == [("HTTP 500",)], "the failure to be stored")
    receiver.status = 204
    cluster.sql("update ado.notifications set next_try_at = now() returning 1")
    until(receiver.ids, "the second try")
    assert receiver.ids() == receiver.ids(500)
    until(lambda: cluster.sql("select state from ado.notifications") == [("delivered",)], "the delivery to be stored")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://10.0.0.1/", b"public internet"),
        ("http://a.test/", b"https"),
        ("nonsense", b"https"),
        ("https://nowhere.invalid/", b"no address"),
    ],
)
def test_an_address_that_may_not_be_told_is_refused_with_words(cluster, url, words):
    refused = cluster.ado("notify", "add", url, check=2)
    assert words in refused.stderr


def test_each_of_many_notifications_arrives_although_replicas_are_killed(cluster, receiver):
    """Kills a replica three times while it sends an outbox of a thousand."""
    many = 1000
    cluster.ado("notify", "add", receiver.url, "--on", "cancelled", check=0)
    cluster.sql(
        "insert into ado.notifications (target_id, task_id, event, body) select 1, n, 'cancelled',"
        " json_build_object('type', 'task.cancelled', 'data', json_build_object('taskId', 'task-' || n))"
        " from generate_series(1, %s) n returning 1",
        many,
    )
    for kills in range(1, 4):
        until(lambda kills=kills: len(receiver.received) > kills * many // 6, "some to arrive")
        victim = cluster.replicas.pop(0)
        cluster.urls.pop(0)
        victim.kill()
        victim.wait()
        cluster.add_replicas(0 if kills == 3 else 1)
    # What a killed replica had claimed is due after its lease of half a minute.
    cluster.sql("update ado.notifications set next_try_at = now() where state = 'waiting' returning 1")
    until(
        lambda: cluster.sql("select count(*) from ado.notifications where state = 'delivered'") == [(many,)],
        "each to be stored as delivered",
        60,
    )
    assert set(receiver.ids()) == {f"notification-{number}" for number in range(1, many + 1)}
    assert len({(name, body) for name, body, _ in receiver.received}) == many  # again means the same, with the same id
    assert len(receiver.ids()) <= many + 3 * 4
