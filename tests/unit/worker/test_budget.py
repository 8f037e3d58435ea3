"""The budget of a job, step by step: when a limit is reached, what a person may decide, and how the attempt ends."""

import pytest

from worker.agents.requests import PersonsAnswer
from worker.agents.verdict import Outcome
from worker.budget import JobBudget


class Person:
    """Gives one answer after the other, and keeps the questions."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    async def ask(self, question):
        self.asked.append(question)
        return self.answers.pop(0)


RAISE, STOP = PersonsAnswer("raise", by="anna"), PersonsAnswer("stop", by="anna")


def budget(spent=None, **members):
    return JobBudget({"budget": members, **({"spent": spent} if spent else {})})


async def settle(made, *answers, **options):
    """Return how the attempt ends, the events, and the questions."""
    person, events = Person(*answers), []
    outcome = await made.settle(person.ask, events.append, **options)
    return outcome, events, person.asked


async def test_a_job_without_a_budget_has_no_limits():
    for job in ({}, {"budget": None}, {"budget": {"costUsd": None}}):
        made = JobBudget(job)
        made.note({"costUsd": 1e9, "inputTokens": 1e12})
        assert (made.is_limited, made.reached, made.dollars_left) == (False, None, None)
        assert await settle(made) == (None, [], [])


async def test_a_limit_is_reached_at_its_amount_and_fails_a_job_that_does_not_ask():
    made = budget(costUsd=1.0, onBudget="fail")
    made.note({"costUsd": 0.999})
    assert (made.reached, made.dollars_left) == (None, pytest.approx(0.001))
    assert (await settle(made))[0] is None
    made.note({"costUsd": 0.6}, {"costUsd": 0.4, "outputTokens": 7})
    assert (made.reached, made.is_spent, made.dollars_left) == ("costUsd", True, 0.0)
    spent = {"costUsd": 1.0, "tokens": 7, "turns": 0}
    assert await settle(made) == (
        Outcome(
            "failed", None, "budget_exceeded",
            "the job has used 1 of 1 US dollars; run it again with a larger --max-cost",
        ),
        [{"type": "budget", "limit": {"costUsd": 1.0}, "spent": spent}],
        [],
    )  # fmt: skip


def test_tokens_are_those_that_the_model_reads_writes_and_caches_anew():
    made = budget(tokens=100)
    made.note({"inputTokens": 50, "cacheReadTokens": 10_000, "cacheWriteTokens": 25})
    assert not made.is_spent
    made.note({"inputTokens": 50, "cacheWriteTokens": 25, "outputTokens": 25})
    assert made.is_spent


def test_the_number_of_turns_stops_none_that_runs():
    made = budget(turns=1)
    made.begin_turn()
    made.end_process()
    assert (made.turns, made.reached, made.is_spent) == (1, "turns", False)


def test_a_process_counts_each_turn_once_however_it_ends():
    made = budget(turns=9)
    made.begin_turn()
    made.end_turn()
    made.end_turn()
    made.end_process()
    made.begin_turn()
    made.end_process()
    assert made.turns == 3


async def test_earlier_attempts_count():
    made = budget({"costUsd": 0.75, "tokens": 5, "turns": 2}, costUsd=1.0)
    assert made.reached is None
    made.note({"costUsd": 0.25})
    assert made.reached == "costUsd"
    assert made.spent == {"costUsd": 1.0, "tokens": 5, "turns": 2}


async def test_a_person_raises_a_limit_by_its_amount_as_often_as_it_is_reached():
    made = budget(costUsd=1.0)
    made.note({"costUsd": 1.2})
    outcome, events, asked = await settle(made, RAISE)
    assert outcome is None
    assert made.dollars_left == pytest.approx(0.8)
    assert [option["id"] for option in asked[0].options] == ["raise", "stop"]
    assert (asked[0].kind, asked[0].key) == ("budget", "budget:costUsd:0")
    assert asked[0].text == "The job has used 1.2 of 1 US dollars. May it use another 1 US dollars?"
    made.note({"costUsd": 3.5})
    outcome, events, asked = await settle(made, RAISE, RAISE)
    assert [event["limit"] for event in events] == [{"costUsd": 2.0}, {"costUsd": 3.0}]
    assert [question.key for question in asked] == ["budget:costUsd:1", "budget:costUsd:2"]
    assert made.dollars_left == pytest.approx(0.5)


async def test_limits_that_were_raised_in_an_earlier_attempt_stay_raised():
    before = {"costUsd": 1.5, "tokens": 0, "turns": 0, "raised": {"costUsd": 1, "tokens": 0, "turns": 0}}
    made = budget(before, costUsd=1.0)
    assert (made.reached, made.dollars_left) == (None, 0.5)


@pytest.mark.parametrize(
    ("answer", "why"),
    [(STOP, "; anna stopped it;"), (PersonsAnswer(unanswered="nobody answered in time"), "; nobody answered in time;")],
)
async def test_an_answer_that_does_not_raise_it_fails_the_job(answer, why):
    made = budget(tokens=10)
    made.note({"outputTokens": 11})
    outcome, _, _ = await settle(made, answer)
    assert (outcome.outcome, outcome.reason) == ("failed", "budget_exceeded")
    assert why in outcome.message


async def test_an_answer_of_an_earlier_attempt_counts_without_another_question():
    made = budget({"costUsd": 2, "stopped": True}, costUsd=1.0)
    outcome, _, asked = await settle(made)
    assert (outcome.reason, asked) == ("budget_exceeded", [])


async def test_an_agent_that_stops_by_itself_has_reached_its_dollars_whatever_they_add_up_to():
    made = budget(costUsd=1.0)
    made.note({"costUsd": 0.9999999})
    assert await settle(made) == (None, [], [])
    outcome, _, asked = await settle(made, STOP, stopped=True)
    assert (outcome.reason, len(asked)) == ("budget_exceeded", 1)


@pytest.mark.parametrize("amount", ["5", True, None, [], -7, {"a": 1}])
def test_an_amount_that_is_none_counts_as_nothing(amount):
    made = budget(costUsd=1.0, tokens=1)
    made.note({"costUsd": amount, "inputTokens": amount})
    assert made.spent == {"costUsd": 0, "tokens": 0, "turns": 0}
