"""The answers of people, as an agent gets them."""

import pytest

from worker.agents.requests import PersonsAnswer, use_of


@pytest.mark.parametrize(
    ("answer", "allows", "words"),
    [
        (PersonsAnswer("allow"), True, "A person refused it."),
        (PersonsAnswer("deny", by="anna"), False, "anna refused it."),
        (PersonsAnswer("deny", "no", "anna"), False, "no"),
        (PersonsAnswer(text="allow"), False, "allow"),
        (PersonsAnswer(unanswered="closed"), False, "Nobody could decide: closed"),
    ],
)
def test_only_the_choice_allow_allows(answer, allows, words):
    assert (answer.allows, answer.refusal) == (allows, words)


def test_a_tool_without_a_title_is_named_alone():
    assert use_of("k", "Bash", "", {}).text == "use Bash"
