"""A job asks, a person answers: by the command line and by the procedures, over two replicas."""

import asyncio
import json

import pytest
from support import forkserver
from support.procedures import Real
from support.program import until, write_token

from app.client import Ado, AnswerEvent, Conflict, QuestionEvent
from app.procedures.questions import OPTIONS_BYTES, TEXT_CHARS
from db.tokens import TokenRow

JOB = TokenRow("tok-job", "job", None, None, 1, 0, 1, None, True)


@pytest.fixture
def real(dsn):
    """A replica with a running job, which calls."""
    made = Real(dsn)
    try:
        assert made.call("tasks.create", prompt="x", agent="shell").task_id == "task-1"
        session = made.call("workers.register", workerId="w1", capabilities=["shell"], instance="i").session
        assert made.call("workers.claim", workerId="w1", session=session).jobs
        made.admin = made.context.caller
        made.be(JOB)
        yield made
    finally:
        made.close()


def begin(cluster, script):
    done = cluster.ado("run", "--remote", "--detach", "-o", "name", "--agent", "shell", script, check=0)
    return done.stdout.decode().strip()


def asked(cluster):
    return json.loads(cluster.ado("inbox", "-o", "json", check=0).stdout)["items"]


def one_question(cluster):
    until(lambda: asked(cluster), "a question")
    return asked(cluster)[0]


def test_a_job_gets_the_answer_of_a_person(cluster):
    cluster.add_worker("w1")
    name = begin(cluster, 'x=$(ado ask "Which?" --option red --option blue); echo "chose $x"; ado ask "Name?"')
    question = one_question(cluster)
    assert (question["taskId"], question["kind"], question["text"]) == (name, "choice", "Which?")
    explained = cluster.ado("explain", name, check=0).stdout.decode()
    assert f"job 0 asks: Which? (next: ado answer {question['questionId']} red|blue)" in explained
    refused = cluster.ado("answer", question["questionId"], "green", check=2)
    assert b"it must be one of red, blue" in refused.stderr
    assert b"ado answer question-" in refused.stderr
    cluster.ado("answer", question["questionId"], "blue", check=0)
    late = cluster.ado("answer", question["questionId"], "red", check=1)
    assert b"was answered by" in late.stderr
    assert b"blue" in late.stderr
    until(lambda: [item["text"] for item in asked(cluster)] == ["Name?"], "the second question")
    cluster.ado("answer", asked(cluster)[0]["questionId"], "any words", check=0)
    done = cluster.ado("attach", name, check=0)
    assert done.stdout == b"chose blue\nany words\n"
    assert b"asks: Which? (RED" not in done.stderr
    assert b"asks: Which? (red, blue) (next: " in done.stderr
    assert cluster.ado("inbox", check=0).stdout.startswith(b"no job waits for an answer\n")


def test_a_question_that_waits_for_long_keeps_the_worker_of_a_command_and_says_so(cluster):
    cluster.add_worker("w1", env={"ADO_QUESTION_HOLD_SECONDS": "0.2"})
    name = begin(cluster, "ado ask Which?")
    question = one_question(cluster)
    said = "select 1 from ado.events where type = 'progress' and body ->> 'message' like '%%keeps its worker%%'"
    until(lambda: cluster.sql(said), "the reason")
    cluster.ado("answer", question["questionId"], "any words", check=0)
    assert cluster.ado("attach", name, check=0).stdout == b"any words\n"
    assert cluster.task(name)["jobs"][0]["attempt"] == 1


def test_a_question_out_of_time_has_its_default_or_exit_code_124(cluster):
    cluster.add_worker("w1")
    name = begin(cluster, 'ado ask a --timeout 0.2s --default d; ado ask b --timeout 0.2s; echo "code $?"')
    done = cluster.ado("attach", name, check=0)
    assert done.stdout == b"d\ncode 124\n"
    assert b"question-2 was not answered in time" in done.stderr


def test_a_question_survives_the_kill_of_the_replica_that_took_it(cluster):
    cluster.add_worker("w1")
    name = begin(cluster, "ado ask Which?")
    question = one_question(cluster)
    cluster.replicas[0].kill()
    cluster.replicas[0].wait()
    cluster.ado("answer", question["questionId"], "still here", check=0)
    assert cluster.ado("attach", name, check=0).stdout == b"still here\n"
    types = [event["type"] for event in cluster.events(name)]
    assert (types.count("question"), types.count("answer")) == (1, 1)


def test_a_question_of_a_killed_worker_is_closed_and_asked_again(cluster):
    worker = cluster.add_worker("w1")
    name = begin(cluster, "ado ask Which?")
    first = one_question(cluster)["questionId"]
    worker.kill()
    worker.wait()
    cluster.add_worker("w2")
    until(lambda: [item["attempt"] for item in asked(cluster)] == [2], "the question of the next attempt")
    assert b"question_closed" in cluster.ado("answer", first, "late", "-o", "json", check=1).stderr
    cluster.ado("answer", asked(cluster)[0]["questionId"], "now", check=0)
    assert cluster.ado("attach", name, check=0).stdout == b"now\n"


@pytest.mark.parametrize("damage", [None, b"", b"[]", b"null", b'{"x": 1}', b"\xff", b"{" * 5000])
def test_the_inbox_shows_ended_tasks_once(shared_cluster, tmp_path, damage):
    cluster = shared_cluster
    cluster.add_worker(tmp_path.name.replace("_", "-"))
    env = {**cluster.client_env(), "ADO_HOME": str(tmp_path)}
    if damage is not None:
        write_token(tmp_path / "seen.json", "")
        (tmp_path / "seen.json").write_bytes(damage)

    def inbox():
        done = forkserver.run(["inbox"], env=env, cwd="/", timeout=60)
        assert done.returncode == 0, done.stderr
        return [line.split()[0] for line in done.stdout.decode().splitlines() if line.startswith("task-")]

    inbox()
    good, bad = begin(cluster, "true"), begin(cluster, "exit 3")
    cluster.ado("wait", good, bad)
    assert set(inbox()) == {good, bad}
    assert inbox() == []
    (tmp_path / "seen.json").unlink()
    (tmp_path / "seen.json").mkdir()  # it can be neither read nor written
    assert {good, bad} <= set(inbox())  # without a last look, those of the last day


def test_outside_a_job_nothing_asks(cluster):
    done = cluster.ado("ask", "x", check=2)
    assert b"only a job asks" in done.stderr


def test_a_waiting_job_is_woken_by_the_answer(real):
    question = real.call("tasks.ask", key="k", text="?")
    assert real.call("tasks.answer", questionId=question.question_id).state == "open"
    wait = {"questionId": question.question_id, "waitSeconds": 60}
    procedure = real.procedures["tasks.answer"]

    async def both():
        waiting = asyncio.create_task(procedure.handler(real.context, *procedure.decode(wait)))
        hub = real.context.services.hub
        async with asyncio.timeout(60):
            while not hub.anybody_for("a"):
                await asyncio.sleep(0.01)
            await real.db._pool.fetch("update ado.questions set expires_at = now() - interval '1 s'")
            hub.receive(["a:1"])
            return await waiting

    assert real.run(both()).state == "expired"


def test_the_same_answer_by_the_same_caller_again_changes_nothing(real):
    question = real.call("tasks.ask", key="k", text="?").question_id
    real.be(real.admin)
    first = real.call("questions.answer", questionId=question, text="yes")
    assert real.call("questions.answer", questionId=question.removeprefix("question-"), text="yes") == first
    assert real.call("questions.answer", questionId=question, text="no") == "already_answered"
    real.be(TokenRow("other", "operator", None, None, None, None, None, None, True, name="ci"))
    assert real.call("questions.answer", questionId=question, text="yes") == "already_answered"


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": ""},
        {"key": "k\0"},
        {"text": ""},
        {"text": "a\0"},
        {"text": "x" * (TEXT_CHARS + 1)},
        {"options": ["a", "a"]},
        {"options": [""]},
        {"options": ["a\0"]},
        {"options": ["x" * 201]},
        {"options": [{"id": "a", "label": "x" * 1000} for _ in range(1)] + [{"id": "a", "label": "b"}]},
        {"options": [str(number) for number in range(51)]},
        {"options": [{"id": str(number), "label": "ä" * 999} for number in range(OPTIONS_BYTES // 1000)]},
        {"options": ["a"], "default": "b", "timeoutSeconds": 1},
        {"default": "b"},
        {"timeoutSeconds": 0},
        {"timeoutSeconds": -1},
        {"timeoutSeconds": 1e300},
    ],
)
def test_a_malformed_question_is_refused_by_its_field(real, wrong):
    assert real.call("tasks.ask", **{"key": "k", "text": "?", **wrong}) in ("invalid_input", "limit_exceeded")
    assert real.sql("select count(*) as n from ado.questions")[0]["n"] == 0


def test_an_answer_must_fit_the_question(real):
    chosen = real.call("tasks.ask", key="1", text="?", options=[{"id": "a", "label": "A"}]).question_id
    text = real.call("tasks.ask", key="2", text="?").question_id
    real.be(real.admin)
    for value in ({}, {"text": "a"}, {"choice": "A"}, {"choice": "a\0"}, {"choice": "a", "text": "b\0"}):
        assert real.call("questions.answer", questionId=chosen, **value) == "invalid_input", value
    for value in ({}, {"choice": "a"}, {"choice": "a", "text": "b"}, {"text": ""}, {"text": "\0"}):
        assert real.call("questions.answer", questionId=text, **value) == "invalid_input", value
    for unknown in ("question-99", "question-0", "x", "", "question-" + "9" * 30):
        assert real.call("questions.answer", questionId=unknown, text="a") == "no_such_question", unknown
    assert real.call("questions.answer", questionId=chosen, choice="a", text="because").answer.text == "because"
    assert real.call("questions.list", cursor="x") == "invalid_input"


def test_a_job_sees_no_question_of_another_task(real):
    question = real.call("tasks.ask", key="1", text="?").question_id
    real.be(TokenRow("tok-other", "job", None, None, 2, 0, 1, None, True))
    assert real.call("tasks.answer", questionId=question) == "no_such_question"
    assert real.call("tasks.ask", key="1", text="?") == "limit_exceeded"


def test_a_program_lists_and_answers(cluster):
    cluster.add_worker("w1")
    name = begin(cluster, "ado ask Which? --option a --option b")
    one_question(cluster)
    with Ado(cluster.urls, cluster.token) as client:
        (question,) = client.list_questions(task_id=name)
        assert [option.id for option in question.options] == ["a", "b"]
        assert client.answer_question(question.question_id, choice="b").answer.choice == "b"
        with pytest.raises(Conflict) as refused:
            client.answer_question(question.question_id, choice="a")
        assert (refused.value.reason, refused.value.data["answer"]) == ("already_answered", {"choice": "b"})
        assert client.list_questions() == []
        assert [item.state for item in client.list_questions(state="all")] == ["answered"]
        events = [event for event in client.events(name) if isinstance(event, QuestionEvent | AnswerEvent)]
    assert (events[0].text, events[1].choice) == ("Which?", "b")
